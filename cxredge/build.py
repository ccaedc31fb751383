"""Packing what ships: candidates measured side by side, behind a gate, in one folder."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from cxredge import bundle as bundles
from cxredge import metrics
from cxredge.artifacts import (
    Card,
    Kind,
    atomic_folder,
    check_files,
    read_card,
    tool_versions,
    write_card,
    write_text,
)
from cxredge.backends.base import Logits
from cxredge.bundle import Golden, float_input_name, model_name, open_bundle
from cxredge.candidates import Built, Candidate, choose, time_candidates
from cxredge.data.audit_record import build_warnings
from cxredge.data.labelled import LabelledImages, load_labelled
from cxredge.data.manifest import Manifest, check_labels
from cxredge.inference import infer_file
from cxredge.onnx_graph import FP32_NAME, read_model, with_float_input
from cxredge.passport import write_passport
from cxredge.progress import Progress
from cxredge.quantization.gate import GateLimits, GateResult, compare
from cxredge.targets.record import Target
from cxredge.targets.registry import is_here
from cxredge.targets.trtexec import trtexec_line
from cxredge.timing import Latency
from cxredge.vocabulary import Dialect, Precision, PrecisionChoice, Split

_GOLDENS = 12


@dataclass(frozen=True)
class BuildConfig:
    """The settings of one build.

    Attributes:
        target: The device.
        precision: What was asked for.
        limits: What may be lost against FP32.
        split: Held-out images that the gate compares on.
        specificity: What the operating thresholds are set to reach on validation images.
        calibration_seed: Chooses the calibration images where no list was given.
    """

    target: Target
    precision: PrecisionChoice
    limits: GateLimits
    split: Split = Split.TEST
    specificity: float = 0.9
    calibration_seed: int = 0

    @property
    def candidates(self) -> tuple[Precision, ...]:
        """What is made and compared: all that the target takes, or FP32 and what was asked for."""
        wanted = {p.value for p in self.target.precisions}
        if self.precision is not PrecisionChoice.AUTO:
            wanted = {Precision.FP32.value, self.precision.value}
        return tuple(p for p in Precision if p.value in wanted)

    @property
    def float_stem(self) -> bool:
        """Whether the first, cheap layers stay in float in the target's INT8 model."""
        return self.target.dialect is Dialect.CPU

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return {
            "float_stem": self.float_stem,
            "target": self.target.name,
            "backend": self.target.backend,
            "precision": self.precision.value,
            "gate": asdict(self.limits),
            "split": self.split.value,
            "specificity": self.specificity,
            "calibration_seed": self.calibration_seed,
        }


def plan(source: Card, parents: Mapping[str, str], config: BuildConfig) -> Card:
    """Return the card of a bundle before anything is done: what decides its content.

    Args:
        source: The card of the run or model it is built from.
        parents: SHA-256 of the inputs, by role.
        config: The settings.
    """
    return Card(
        kind=Kind.BUNDLE,
        classifier=source.classifier,
        parents=parents,
        config=config.to_json(),
        tools=tool_versions("onnx", "onnxruntime", "numpy", "pillow"),
    )


def build(
    folders: Mapping[Precision, Path],
    manifest: Manifest,
    planned: Card,
    config: BuildConfig,
    provenance: Mapping[str, Any],
    out: Path,
    progress: Progress,
) -> Built:
    """Measure the candidates on held-out images, time them if this is the target, write the bundle.

    Args:
        folders: Model folders of the candidates by precision; FP32 is always one, INT8 is in the
            target's dialect.
        manifest: Has the split of the gate, and ``val`` for the operating thresholds.
        planned: The card that :func:`plan` made.
        config: The settings.
        provenance: What earlier stages found that the card should repeat.
        out: The bundle's folder.
        progress: Hears of images done.

    Raises:
        GateRefused: The precision that was forced loses more than the limits allow. Nothing is
            written.
    """
    cards = {precision: _read_model(folder) for precision, folder in folders.items()}
    source = cards[Precision.FP32]
    check_labels(manifest, source.classifier.classes)
    classes, size = source.classifier.classes, source.classifier.input_size
    held_out = load_labelled(manifest.of(config.split), classes, size, progress)
    validation = load_labelled(manifest.of(Split.VAL), classes, size, progress)
    models = {precision: folder / FP32_NAME for precision, folder in folders.items()}
    logits = {p: infer_file(model, held_out.pixels) for p, model in models.items()}
    here = is_here(config.target)
    latencies: dict[Precision, Latency] = {}
    if here:
        progress.note("Timing the candidates side by side on this machine.")
        latencies = time_candidates(models, held_out.pixels[:1], config.target.backend)
    candidates = [
        Candidate(p, model, _gate(logits, p, held_out, config.limits), latencies.get(p))
        for p, model in models.items()
    ]
    chosen, reason = choose(candidates, config.precision, config.target)
    facts = {
        "precision": chosen.precision.value,
        "gate": {c.precision.value: c.gate.to_json() for c in candidates},
        "thresholds": {
            p.value: operating_thresholds(
                infer_file(model, validation.pixels), validation.labels, source, config.specificity
            )
            for p, model in models.items()
        },
        "data": manifest.counts(),
        "patients": manifest.patients(),
        "warnings": build_warnings(manifest),
        "quantization": _quantization_facts(cards.get(Precision.INT8)),
        **_by_hand(config.target, models, size),
        **provenance,
    }
    with atomic_folder(out) as folder:
        for precision, model in models.items():
            shutil.copyfile(model, folder / model_name(precision))
            if config.target.needs_float_input:
                twin = with_float_input(read_model(model))
                onnx.save(twin, folder / float_input_name(precision))
        bundles.write_golden(folder / bundles.GOLDEN_NAME, _goldens(held_out, logits))
        if Precision.INT8 in folders:
            listed = _calibration_csv(folders[Precision.INT8] / "calibration.csv")
            write_text(folder / bundles.CALIBRATION_NAME, listed)
        write_card(folder, replace(planned, facts=facts))
        if here:
            write_passport(
                folder, chosen.precision, model_name(chosen.precision), latencies, reason
            )
    return Built(open_bundle(out), chosen.gate, [c.to_json() for c in candidates], reason)


def operating_thresholds(
    logits: Logits, labels: metrics.Ints, card: Card, specificity: float
) -> dict[str, float]:
    """Return for each class the lowest probability that keeps the wanted specificity.

    Args:
        logits: float (n, classes) of validation images.
        labels: int (n,).
        card: Names the classes.
        specificity: Share of the other classes' images that must stay below, in [0, 1].
    """
    probabilities = metrics.softmax(logits)
    return {
        name: metrics.threshold_at_specificity(probabilities[:, c], labels == c, specificity)
        for c, name in enumerate(card.classifier.classes)
    }


def _read_model(folder: Path) -> Card:
    card = read_card(folder, Kind.MODEL)
    check_files(folder, card)
    return card


def _gate(
    logits: Mapping[Precision, Logits],
    precision: Precision,
    held_out: LabelledImages,
    limits: GateLimits,
) -> GateResult:
    reference, candidate = logits[Precision.FP32], logits[precision]
    return compare(reference, candidate, held_out.labels, held_out.patients, limits)


def _goldens(held_out: LabelledImages, logits: Mapping[Precision, Logits]) -> Golden:
    """Pick images of every class in turn, in the manifest's order."""
    by_class = [np.flatnonzero(held_out.labels == c) for c in np.unique(held_out.labels)]
    in_turn = [group[turn] for turn in range(_GOLDENS) for group in by_class if turn < len(group)]
    chosen = np.sort(np.array(in_turn[:_GOLDENS]))
    return Golden(
        pixels=held_out.pixels[chosen],
        labels=held_out.labels[chosen],
        logits={p: values[chosen] for p, values in logits.items()},
    )


def _calibration_csv(path: Path) -> str:
    """Return the calibration list without paths and patients: they stay on the workstation."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("label", "source", "sha256"))
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        for row in csv.DictReader(stream):
            writer.writerow((row["label"], row["source"], row["sha256"]))
    return text.getvalue()


def _by_hand(target: Target, precisions: Iterable[Precision], size: int) -> dict[str, Any]:
    """Return TensorRT's own command for each precision, where TensorRT serves."""
    if target.backend != "tensorrt":
        return {}
    name = float_input_name if target.needs_float_input else model_name
    return {"trtexec": {p.value: trtexec_line(name(p), p, size) for p in precisions}}


def _quantization_facts(card: Card | None) -> dict[str, Any] | None:
    """Return what the quantization found, without its cost, which differs from run to run."""
    if card is None:
        return None
    kept = ("steps", "agreement", "size_bytes", "size_bytes_fp32")
    settings = ("dialect", "calibration_images", "float_stem", "bias_correction")
    return {
        **{key: card.config[key] for key in settings},
        **{key: card.facts[key] for key in kept},
    }
