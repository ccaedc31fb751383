"""Purpose, data, training and provenance of a bundle."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from cxredge.artifacts.records import to_json
from cxredge.bundle.bundle import Bundle
from cxredge.bundle.card import BundleFacts
from cxredge.errors import quoted
from cxredge.report import numbers
from cxredge.report.blocks import Block, Commands, Facts, Missing, Section, Sentences, Table
from cxredge.report.reported_bundle import ReportedBundle
from cxredge.results.evaluation import Evaluation
from cxredge.targets.registry import all_targets

_TRAIN_OPTIONS = (
    "model",
    "weights",
    "freeze",
    "epochs",
    "patience",
    "batch_size",
    "learning_rate",
    "backbone_rate",
    "weight_decay",
    "label_smoothing",
    "dropout",
    "average_decay",
    "augment",
    "views",
    "features",
    "seed",
    "input_size",
    "mean",
    "std",
)


def purpose_section(reported: ReportedBundle) -> Section:
    """Return purpose, input, output, and the reason for the precision that serves."""
    if reported.bundle is None:
        classes = reported.evaluations[0].classes if reported.evaluations else None
        pairs = (("Network", reported.results[0].network), ("Classes", numbers.plain(classes)))
        return Section("Summary", (Facts("", pairs), without_bundle()))
    card, classifier = reported.bundle.card, reported.bundle.card.classifier
    size = classifier.input_size
    runtime = reported.bundle.backend if reported.bundle.passport else card.config.backend
    facts = Facts(
        "",
        (
            (
                "Intended use",
                f"research on chest X-ray classifiers on {device_words(reported.bundle)}",
            ),
            ("Out of scope", "patients, devices or views that the data below do not include"),
            ("Task", f"classification of a chest X-ray into {len(classifier.classes)} classes"),
            ("Classes", ", ".join(classifier.classes)),
            ("Input", f"{size} by {size} grey pixels, 8 bits ({classifier.preprocessing})"),
            ("Network", classifier.network),
            ("Target", f"{card.config.target} through {runtime}"),
            ("Precision", served_precision(reported)),
            ("Why this precision", _reason(reported.bundle)),
            ("Decision", _decision(reported.bundle)),
        ),
    )
    return Section("Summary", (facts, _thresholds(reported.bundle)))


def data_section(reported: ReportedBundle) -> Section:
    """Return the number of images by class and split, and of patients where known."""
    blocks: list[Block] = []
    if reported.bundle is not None:
        facts = reported.bundle.card.facts
        blocks.append(_images(to_json(facts.data)))
        held = ", ".join(f"{split} {number}" for split, number in to_json(facts.patients).items())
        blocks.append(Sentences("", (f"Patients: {held}.", *_unknown_patients(facts))))
    for result in _by_manifest(reported.evaluations):
        line = (
            f"Evaluated on {numbers.count(result.images)} images of "
            f"{numbers.count(result.patients)} patients (split '{result.split.value}')."
        )
        if result.images_without_patient:
            line += f" Of {numbers.count(result.images_without_patient)} images the patient is not "
            line += "known; each counts as a patient of its own."
        blocks.append(Sentences("", (line,)))
    if not blocks:
        blocks.append(Missing("Data", "cxredge report BUNDLE --out report.html"))
    return Section("Data", tuple(blocks))


def _unknown_patients(facts: BundleFacts) -> tuple[str, ...]:
    if not facts.images_without_patient:
        return ()
    unknown = to_json(facts.images_without_patient).items()
    listed = ", ".join(f"{split} {number}" for split, number in unknown)
    return (f"Images whose patient is not known, and counts as one of its own: {listed}.",)


def training_section(reported: ReportedBundle) -> Section:
    """Return the configuration and result of the training, from the card."""
    summary = reported.bundle.card.facts.training if reported.bundle else None
    if summary is None:
        line = "Not recorded: the bundle was built from a model, not from a run of cxredge."
        return Section("Training", (Sentences("", (line,)),))
    training = to_json(summary)
    known = {
        "network": "Network",
        "weights": "Initial weights",
        "freeze": "Frozen",
        "epochs": "Epochs",
        "best_epoch": "Best epoch",
        "seed": "Seed",
        "input_size": "Input size",
    }
    words = {"weights": {"none": "random weights"}, "freeze": {"none": "nothing"}}
    pairs = [
        (name, words.get(key, {}).get(training.get(key), numbers.plain(training.get(key))))
        for key, name in known.items()
    ]
    pairs.append(("Trainable weights", numbers.count(training.get("trainable"))))
    pairs.append(("Validation accuracy", numbers.share(training.get("validation_accuracy"))))
    return Section("Training", (Facts("", tuple(pairs)),))


def provenance_section(reported: ReportedBundle) -> Section:
    """Return hashes, versions, configuration and the commands to reproduce the bundle."""
    blocks: list[Block] = []
    if reported.bundle is not None:
        card = reported.bundle.card
        blocks += [
            Table("Inputs (SHA-256)", ("input", "hash"), tuple(card.parents.items())),
            Table("Files (SHA-256)", ("file", "hash"), tuple(card.files.items())),
            Facts("Configuration", tuple(_flat(to_json(card.config)))),
            Facts("Versions at build", tuple(card.tools.items())),
        ]
        if reported.bundle.passport:
            tools = reported.bundle.passport.tools
            blocks.append(Facts("Versions on the device", tuple(tools.items())))
        blocks.append(_commands(reported.bundle))
    cards = sorted({result.bundle_sha256 for result in reported.results})
    if cards:
        blocks.append(Facts("Card of the results (SHA-256)", tuple(("card", s) for s in cards)))
    return Section("Provenance", tuple(blocks))


def served_precision(reported: ReportedBundle) -> str:
    """Return the precision that serves, and whether FP32 decides its near ties."""
    name, bundle = reported.precision.value.upper(), reported.bundle
    if bundle is None or bundle.cascade_margin is None:
        return name
    return f"{name}, and FP32 for its near ties"


def device_words(bundle: Bundle) -> str:
    """Return the title and name of the target; the name only if this version lacks it."""
    name = bundle.card.config.target
    known = all_targets().get(name)
    return f"{known.title} ({name})" if known else name


def without_bundle() -> Sentences:
    """Return what a report of results alone lacks."""
    line = (
        "Only results were given. With the bundle's folder, the report also shows data, hashes and "
        "X-rays."
    )
    return Sentences("", (line,))


def _reason(bundle: Bundle) -> str:
    if bundle.passport is not None:
        return bundle.passport.reason
    return (
        f"Chosen on the build machine, not on the target; on {bundle.card.config.target} "
        f"run: cxredge deploy {quoted(bundle.path.name)}"
    )


def _decision(bundle: Bundle) -> str:
    """Return the rule that makes the label, and the use of the operating thresholds."""
    label = "the label of an image is its most probable class"
    if bundle.cascade_margin is not None:
        label += ", for near ties in FP32"
    return (
        f"{label}; accuracy, recall and the confusion matrix count labels. The operating "
        "thresholds do not change it: sensitivity and specificity are those at the thresholds, "
        "and predictions list every class at or above its own in the column above_threshold"
    )


def _thresholds(bundle: Bundle) -> Table:
    aim = numbers.share(bundle.card.config.specificity)
    return Table(
        "Operating thresholds",
        ("class", "listed from"),
        tuple((name, numbers.fraction(value)) for name, value in bundle.thresholds.items()),
        f"Set on validation images for a specificity of {aim}. Predictions list the classes at or "
        "above them in the column above_threshold. The label does not depend on them: it is the "
        "most probable class.",
    )


def _images(counts: Mapping[str, Mapping[str, int]]) -> Table:
    splits = list(counts)
    classes = sorted({name for by_class in counts.values() for name in by_class})
    rows = [
        (
            name,
            *(numbers.count(counts[split].get(name, 0)) for split in splits),
            numbers.count(sum(counts[split].get(name, 0) for split in splits)),
        )
        for name in classes
    ]
    totals = [sum(counts[split].values()) for split in splits]
    rows.append(("all", *map(numbers.count, totals), numbers.count(sum(totals))))
    return Table("Images by class and split", ("class", *splits, "all"), tuple(rows))


def _by_manifest(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    return list({(r.manifest_sha256, r.split): r for r in evaluations}.values())


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    pairs = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            pairs += _flat(value, f"{prefix}{key}.")
        else:
            text = f"{value:g}" if isinstance(value, float) else numbers.plain(value)
            pairs.append((numbers.words_of(f"{prefix}{key}"), text))
    return pairs


def _train_command(training: Mapping[str, Any]) -> str:
    given = {**training, "model": training["network"], "augment": training["augmentation"]}
    if given["weights"] == "file":
        given["weights"] = "FILE"
    options = " ".join(
        f"--{name.replace('_', '-')} {shlex.quote(str(given[name]))}" for name in _TRAIN_OPTIONS
    )
    balance = "--balance" if training["balance"] else "--no-balance"
    return f"cxredge train MANIFEST {options} {balance} --out RUN"


def _commands(bundle: Bundle) -> Commands:
    card, lines = bundle.card, []
    training, quantization = card.facts.training, card.facts.quantization
    if training:
        lines.append(_train_command(to_json(training)))
    given, calibrated = "RUN" if training else "MODEL", ""
    if quantization:
        images = quantization.calibration_images
        lines.append(f"cxredge calibrate MANIFEST --count {images} --out CALIBRATION.csv")
        calibrated = "--calibration CALIBRATION.csv "
    config = card.config
    limits = " ".join(f"--{k.replace('_', '-')} {v:g}" for k, v in to_json(config.gate).items())
    cascade = "--cascade" if config.cascade else "--no-cascade"
    lines += [
        f"cxredge build {given} --target {config.target} --precision {config.precision} "
        f"{calibrated}--evaluate MANIFEST --split {config.split.value} "
        f"{limits} --specificity {config.specificity:g} {cascade} --out BUNDLE",
        "cxredge verify BUNDLE",
        "cxredge evaluate BUNDLE MANIFEST --split test",
        "cxredge bench BUNDLE --images FOLDER",
    ]
    note = "The inputs must have the hashes listed above."
    return Commands("Commands to reproduce it", tuple(lines), note)
