"""The first pages of a chapter: what the network is for, and whom it was tried on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cxredge.artifacts.records import to_json
from cxredge.errors import quoted
from cxredge.metrics.controls import OTHER_CLASS, objections
from cxredge.report import numbers
from cxredge.report.about import device_words, without_bundle
from cxredge.report.blocks import Block, Facts, Missing, Section, Sentences
from cxredge.report.examples import examples_section
from cxredge.report.headlines import controls_of
from cxredge.report.page import Evidence
from cxredge.report.reported_bundle import ReportedBundle
from cxredge.report.rightness import answers_section, rightness_section
from cxredge.report.unanswerable import looks_section, unanswerable_section
from cxredge.results.answered import Group
from cxredge.results.evaluation import Evaluation

PROPERTIES = {"source": "Sources", "sex": "Sex", "age": "Age", "view": "View"}


def subject(reported: ReportedBundle) -> str:
    """Return what the network answers, in plain words."""
    classes = _classes(reported)
    if not classes:
        return "Chest X-ray classifier"
    *others, last = classes
    return f"Chest X-ray classifier: {', '.join(others)}{' or ' if others else ''}{last}"


def summary_sections(
    reported: ReportedBundle, pictures: bool, folder: Path | None
) -> tuple[Section, ...]:
    """Return the sections for readers who use the answers.

    Args:
        reported: The bundle.
        pictures: Whether to show X-rays.
        folder: Manifest or folder to choose further examples from.
    """
    return (
        _purpose(reported),
        _tried_on(reported),
        unanswerable_section(reported),
        rightness_section(reported),
        answers_section(reported),
        looks_section(reported),
        examples_section(reported, pictures, folder),
    )


def first_warnings(reported: ReportedBundle) -> list[str]:
    """Return what controls say against the accuracy, the source before the disease."""
    return objections(controls_of(reported))


def evidence_of(result: Evaluation | None) -> Evidence | None:
    """Return the records behind the summary."""
    if result is None:
        return None
    return Evidence(
        answered=result.answered,
        controls=result.controls,
        coverage=result.coverage,
        by=result.by,
        auroc_within_source=result.auroc_within_source,
        border_evidence=result.border_evidence,
        heatmaps_fp32=result.heatmaps_fp32,
    )


def _classes(reported: ReportedBundle) -> tuple[str, ...]:
    if reported.bundle is not None:
        return tuple(reported.bundle.card.classifier.classes)
    return tuple(reported.evaluations[0].classes) if reported.evaluations else ()


def _purpose(reported: ReportedBundle) -> Section:
    classes, device = _classes(reported), "a device"
    if reported.bundle is not None:
        device = device_words(reported.bundle)
    refuses = reported.bundle and reported.bundle.operating_point().max_distance is not None
    unnamed = "for several findings"
    if OTHER_CLASS not in classes:
        unnamed = "for another finding or for several"
    otherwise = ": it names one of these"
    if refuses:
        otherwise += " or, if the X-ray is unlike the training images, none"
    count = f"one of {len(classes)} classes: {', '.join(classes)}" if classes else "a class"
    pairs = (
        ("For", f"research on classifiers of frontal chest X-rays that run on {device}"),
        (
            "Not for",
            "the care of any person; lateral views, CT slices and other body parts; patients, "
            "devices and hospitals other than those below; any other finding",
        ),
        (
            "Answer",
            f"{count}. It has no answer {unnamed}{otherwise}",
        ),
    )
    blocks: tuple[Block, ...] = (Facts("", pairs),)
    return Section("What it is for", blocks if reported.bundle else (*blocks, without_bundle()))


def _tried_on(reported: ReportedBundle) -> Section:
    title, result = "Whom it was tried on", reported.evaluation
    command = f"cxredge evaluate {quoted(reported.name)} MANIFEST --split test"
    if result is None:
        return Section(title, (*_trained(reported), Missing("Patients it was tried on", command)))
    pairs = [
        (
            "Tried on",
            f"{numbers.count(result.images)} X-rays of {numbers.count(result.patients)} patients "
            f"(split '{result.split.value}'){_unseen(result)}",
        )
    ]
    pairs += [
        (words, _groups(result.by[name])) for name, words in PROPERTIES.items() if name in result.by
    ]
    blocks: list[Block] = [Facts("", (*pairs, *_training_pair(reported)))]
    unstated = [name for name in PROPERTIES if name not in result.by]
    if not result.by:
        blocks.append(Missing("Sources, sex and age", command))
    elif unstated:
        words = f"The manifest does not state {numbers.listed(unstated)}."
        blocks.append(Sentences("", (words,)))
    return Section(title, tuple(blocks))


def _unseen(result: Evaluation) -> str:
    seen = result.seen
    if seen is None:
        return "; the training images are not listed, so some may be among them"
    if seen.images or seen.validation_images or seen.patients:
        return "; some of the images or patients were used in training"
    return "" if seen.patients is None else ", none of whom was trained on"


def _groups(groups: Mapping[str, Group]) -> str:
    return "; ".join(
        f"{value}: {numbers.count(group.images)} X-rays of {numbers.count(group.patients)} patients"
        for value, group in groups.items()
    )


def _training_pair(reported: ReportedBundle) -> tuple[tuple[str, str], ...]:
    if reported.bundle is None:
        return ()
    facts = reported.bundle.card.facts
    images, patients = to_json(facts.data), to_json(facts.patients)
    words = [
        f"{numbers.count(sum(images[split].values()))} X-rays of "
        f"{numbers.count(patients.get(split))} patients{use}"
        for split, use in (("train", ""), ("val", " to choose the epoch and the limits"))
        if split in images
    ]
    return (("Trained on", ", and ".join(words)),) if words else ()


def _trained(reported: ReportedBundle) -> tuple[Block, ...]:
    pairs = _training_pair(reported)
    return (Facts("", pairs),) if pairs else ()
