"""Packing what ships: candidates measured side by side, behind a gate, in one folder."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from cxredge import bundle as bundles
from cxredge.ahead_of_time import build_ahead
from cxredge.artifacts import (
    Card,
    Kind,
    check_files,
    read_card,
    tool_versions,
    write_card,
    write_text,
)
from cxredge.atomic import atomic_folder
from cxredge.backends.base import Logits
from cxredge.bundle import Golden, float_input_name, model_name, open_bundle
from cxredge.candidates import Built, Candidate, choose, time_candidates
from cxredge.data.audit_record import build_warnings
from cxredge.data.labelled import LabelledImages, load_labelled
from cxredge.data.manifest import Entry, Manifest, check_labels
from cxredge.engine_request import EngineRequest
from cxredge.flipped import write_flipped
from cxredge.inference import infer_file
from cxredge.onnx_graph import FP32_NAME, read_model, with_float_input
from cxredge.passport import Serving, write_passport
from cxredge.progress import Progress
from cxredge.quantization.gate import GateLimits, GateResult, Validation, compare
from cxredge.quantization.quantize import RANGES_NAME
from cxredge.quantization.rung_latency import LATENCY_HERE
from cxredge.targets.record import Target
from cxredge.targets.registry import is_here
from cxredge.targets.trtexec import newest_lines, recipe
from cxredge.timing import Latency
from cxredge.vocabulary import Dialect, Effort, Precision, PrecisionChoice, Split

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
        effort: How much the quantization tries.
        engine: What is asked of engines, where the target's runtime has such.
        compute_capabilities: What engines are built for ahead of time; TensorRT for RTX alone.
    """

    target: Target
    precision: PrecisionChoice
    limits: GateLimits
    split: Split = Split.TEST
    specificity: float = 0.9
    calibration_seed: int = 0
    effort: Effort = Effort.DEFAULT
    engine: EngineRequest = field(default_factory=EngineRequest)
    compute_capabilities: tuple[str, ...] = ()

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
            "effort": self.effort.value,
            "engine": self.engine.to_json(),
            "compute_capabilities": list(self.compute_capabilities),
        }


@dataclass(frozen=True)
class _Seen:
    """One split as every precision sees it: its images, and float32 (N, classes) logits of each."""

    images: LabelledImages
    logits: Mapping[Precision, Logits]


def plan(source: Card, parents: Mapping[str, str], config: BuildConfig) -> Card:
    """Return the card of a bundle before anything is done: what decides its content.

    Args:
        source: The card of the run or model it is built from.
        parents: SHA-256 of the inputs, by role.
        config: The settings.
    """
    ahead = ["tensorrt-rtx"] if config.compute_capabilities else []
    return Card(
        kind=Kind.BUNDLE,
        classifier=source.classifier,
        parents=parents,
        config=config.to_json(),
        tools=tool_versions("onnx", "onnxruntime", "numpy", "pillow", *ahead),
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

    Where the target runs engines instead of ONNX files, nothing is timed yet: that is left to
    :func:`cxredge.on_device.finish`.

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
    models = {precision: folder / FP32_NAME for precision, folder in folders.items()}
    held_out = _see(manifest.of(config.split), models, source, progress)
    validation = _see(manifest.of(Split.VAL), models, source, progress)
    # Other runtimes take engines, which are built from the bundle once it is packed.
    here = is_here(config.target) and config.target.backend == "onnxruntime"
    latencies: dict[Precision, Latency] = {}
    if here:
        progress.note("Timing the candidates side by side on this machine.")
        pixels = held_out.images.pixels[:1]
        latencies = time_candidates(models, pixels, config.target.backend)
    candidates = [
        Candidate(p, model, _gate(p, held_out, validation, source, config), latencies.get(p))
        for p, model in models.items()
    ]
    # The card is the same whenever the bundle is made: what was timed here decides what serves
    # here, and that is for the passport.
    untimed = [replace(candidate, latency=None) for candidate in candidates]
    size = source.classifier.input_size
    name = float_input_name if config.target.needs_float_input else model_name
    files = {c.precision: name(c.precision) for c in candidates if c.passed}
    facts = {
        "precision": choose(untimed, config.precision, config.target)[0].precision.value,
        "gate": {c.precision.value: c.gate.to_json() for c in candidates},
        "thresholds": {
            c.precision.value: {row.class_name: row.candidate for row in c.gate.thresholds}
            for c in candidates
        },
        "data": manifest.counts(),
        "patients": manifest.patients(),
        "warnings": build_warnings(manifest),
        "quantization": _quantization_facts(cards.get(Precision.INT8)),
        "trtexec": newest_lines(config.target, files, size, config.engine),
        **provenance,
    }
    chosen, reason = choose(candidates, config.precision, config.target)
    with atomic_folder(out) as folder:
        for precision, model in models.items():
            shutil.copyfile(model, folder / model_name(precision))
            if config.target.needs_float_input:
                twin = with_float_input(read_model(model))
                onnx.save(twin, folder / float_input_name(precision))
        bundles.write_golden(folder / bundles.GOLDEN_NAME, _goldens(held_out))
        indices = {flip.index for c in candidates for flip in c.gate.flipped}
        write_flipped(folder, held_out.images.pixels, indices)
        if Precision.INT8 in folders:
            listed = _calibration_csv(folders[Precision.INT8] / "calibration.csv")
            write_text(folder / bundles.CALIBRATION_NAME, listed)
            shutil.copyfile(folders[Precision.INT8] / RANGES_NAME, folder / RANGES_NAME)
        passed = [c.precision for c in candidates if c.passed]
        if config.target.jetpack:
            text = recipe(config.target, files, size, config.engine)
            write_text(folder / bundles.RECIPE_NAME, text)
        wanted = config.compute_capabilities
        packed = build_ahead(folder, passed, wanted, config.engine, progress)
        facts |= {"engines": list(packed.engines), "engines_left_out": dict(packed.left_out)}
        write_card(folder, replace(planned, facts=facts))
        if here:
            serves = model_name(chosen.precision)
            write_passport(folder, Serving(chosen.precision, serves, latencies, reason))
    return Built(open_bundle(out), chosen.gate, [c.to_json() for c in candidates], reason)


def _read_model(folder: Path) -> Card:
    card = read_card(folder, Kind.MODEL)
    check_files(folder, card)
    return card


def _see(
    entries: Sequence[Entry], models: Mapping[Precision, Path], source: Card, progress: Progress
) -> _Seen:
    classifier = source.classifier
    images = load_labelled(entries, classifier.classes, classifier.input_size, progress)
    return _Seen(images, {p: infer_file(model, images.pixels) for p, model in models.items()})


def _gate(
    precision: Precision, held_out: _Seen, validation: _Seen, source: Card, config: BuildConfig
) -> GateResult:
    return compare(
        held_out.logits[Precision.FP32],
        held_out.logits[precision],
        held_out.images.labels,
        held_out.images.patients,
        config.limits,
        source.classifier.classes,
        Validation(
            validation.logits[Precision.FP32],
            validation.logits[precision],
            validation.images.labels,
            config.specificity,
        ),
    )


def _goldens(held_out: _Seen) -> Golden:
    """Pick images of every class in turn, in the manifest's order."""
    images = held_out.images
    by_class = [np.flatnonzero(images.labels == c) for c in np.unique(images.labels)]
    in_turn = [group[turn] for turn in range(_GOLDENS) for group in by_class if turn < len(group)]
    chosen = np.sort(np.array(in_turn[:_GOLDENS]))
    return Golden(
        pixels=images.pixels[chosen],
        labels=images.labels[chosen],
        logits={p: values[chosen] for p, values in held_out.logits.items()},
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


def _quantization_facts(card: Card | None) -> dict[str, Any] | None:
    """Return what the quantization found, without its cost, which differs from run to run."""
    if card is None:
        return None
    kept = ("judged_on", "chosen", "in_float", "agreement", "size_bytes", "size_bytes_fp32")
    of_this_machine = ("seconds", LATENCY_HERE)
    settings = ("dialect", "calibration_images", "effort", "float_stem")
    return {
        **{key: card.config[key] for key in settings},
        **{key: card.facts[key] for key in (*kept, "layers")},
        "steps": [
            {key: value for key, value in step.items() if key not in of_this_machine}
            for step in card.facts["steps"]
        ],
    }
