"""The chapter of a bundle: warnings and headlines first, then the sections."""

from __future__ import annotations

from pathlib import Path

from cxredge.artifacts.card import CARD_NAME
from cxredge.artifacts.hashing import sha256_of_file
from cxredge.report import numbers
from cxredge.report.about import data_section, provenance_section, purpose_section, training_section
from cxredge.report.accuracy import accuracy_section, evaluation_name
from cxredge.report.benches import bench_names
from cxredge.report.headlines import gate_of, headlines
from cxredge.report.latency import latency_section
from cxredge.report.measurements import measurements
from cxredge.report.page import Chapter
from cxredge.report.precision import precision_section
from cxredge.report.reported_bundle import ReportedBundle
from cxredge.report.summary import evidence_of, first_warnings, subject, summary_sections
from cxredge.report.trust import data_warnings, trust_questions
from cxredge.report.xrays import xray_section
from cxredge.vocabulary import Split


def make_chapter(reported: ReportedBundle, pictures: bool, examples: Path | None = None) -> Chapter:
    """Return the chapter of a bundle.

    Args:
        reported: The bundle.
        pictures: Whether to show X-rays; they come from the data set.
        examples: Manifest or folder to choose further X-rays from.
    """
    if reported.bundle is not None:
        network = reported.bundle.card.classifier.network
        target = reported.bundle.card.config.target
        card = sha256_of_file(reported.bundle.path / CARD_NAME)
    else:
        network, card = reported.results[0].network, reported.results[0].bundle_sha256
        target = next((r.target for r in reported.benches), "unknown target")
    return Chapter(
        name=reported.name,
        network=network,
        precision=reported.precision.value,
        target=target,
        card=card,
        warnings=_warnings(reported),
        headlines=headlines(reported),
        checks=trust_questions(reported),
        sections=(
            purpose_section(reported),
            data_section(reported),
            training_section(reported),
            precision_section(reported, pictures),
            accuracy_section(reported),
            latency_section(reported),
            xray_section(reported, pictures),
            provenance_section(reported),
        ),
        measurements=measurements(reported),
        subject=subject(reported),
        first=_first(reported),
        summary=summary_sections(reported, pictures, examples),
        evidence=evidence_of(reported.evaluation),
    )


def _first(reported: ReportedBundle) -> tuple[str, ...]:
    """Return the warnings that concern every reader."""
    return tuple(dict.fromkeys([*first_warnings(reported), *data_warnings(reported)]))


def _warnings(reported: ReportedBundle) -> tuple[str, ...]:
    found = list(_first(reported))
    gate = gate_of(reported)
    if gate is not None:
        found += gate.cautions
    if reported.bundle is not None and reported.bundle.passport is None:
        target = reported.bundle.card.config.target
        found.append(f"Not finished on its target ({target}): nothing was timed or verified there.")
    shown = [r for r in reported.evaluations if r.precision is reported.precision]
    if len({(result.manifest_sha256, result.split) for result in shown}) > 1:
        accuracies = ", ".join(
            f"{numbers.share(r.accuracy)} of {numbers.count(r.images)} images "
            f"({evaluation_name(r)})"
            for r in shown
        )
        found.append(f"Accuracy differs between sets of images; the first is shown: {accuracies}.")
    for result in reported.evaluations:
        if result.split is not Split.TEST:
            found.append(
                f"One evaluation is on '{result.split.value}' images, which were used to train the "
                "network or to set its thresholds: it is optimistic."
            )
    return tuple(dict.fromkeys([*found, *_doubtful_benches(reported)]))


def _doubtful_benches(reported: ReportedBundle) -> list[str]:
    """Return one warning for all benchmarks, because most of their reasons are the same."""
    named = zip(bench_names(reported.benches), reported.benches, strict=True)
    doubtful = {name: r.verdict.reasons for name, r in named if r.verdict.reasons}
    if not doubtful:
        return []
    if len(doubtful) == 1:
        ((name, reasons),) = doubtful.items()
        return [f"Latency ({name}) cannot be compared with other results: {'; '.join(reasons)}."]
    first, *others = doubtful.values()
    shared = [reason for reason in first if all(reason in reasons for reasons in others)]
    why = f": {'; '.join(shared)}" if shared else ""
    return [
        f"{len(doubtful)} of {len(reported.benches)} benchmarks cannot be compared with "
        f"other results{why}. All reasons are listed with each benchmark."
    ]
