"""Choosing what ships: candidates measured side by side, behind a gate, in one folder."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxredge import bundle as bundles
from cxredge import metrics
from cxredge.artifacts import (
    Card,
    Kind,
    atomic_folder,
    check_files,
    read_card,
    sha256_of_file,
    tool_versions,
    write_card,
    write_text,
)
from cxredge.backends import open_session
from cxredge.backends.base import Logits
from cxredge.bundle import Bundle, Golden, model_name, open_bundle
from cxredge.data.audit import source_warnings
from cxredge.data.images import GreyImage
from cxredge.data.manifest import Manifest, check_labels, load_pixels
from cxredge.errors import CxredgeError, GateRefused
from cxredge.onnx_graph import FP32_NAME
from cxredge.progress import Progress
from cxredge.quantization.gate import GateLimits, GateResult, compare
from cxredge.targets.registry import Target, this_machine
from cxredge.telemetry.linux import read_machine
from cxredge.timing import Latency, interleave, summarise
from cxredge.vocabulary import Precision, PrecisionChoice, Split

_BATCH = 16
_WARM_UP, _ROUNDS = 20, 200
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
    """

    target: Target
    precision: PrecisionChoice
    limits: GateLimits
    split: Split = Split.TEST
    specificity: float = 0.9


@dataclass(frozen=True)
class Candidate:
    """One precision that could ship."""

    precision: Precision
    model: Path
    gate: GateResult
    latency: Latency
    golden_passed: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the candidate as JSON values."""
        return {
            "precision": self.precision.value,
            "size_bytes": self.model.stat().st_size,
            "accuracy": self.gate.accuracy,
            "agreement": self.gate.agreement,
            "logit_error": self.gate.logit_error,
            "passed": self.gate.passed,
            "latency_ms": self.latency.to_json(),
        }


@dataclass(frozen=True)
class Built:
    """What a build came to."""

    bundle: Bundle
    gate: GateResult
    candidates: list[dict[str, Any]]
    reason: str


@dataclass(frozen=True)
class _HeldOut:
    pixels: GreyImage
    labels: np.ndarray
    patients: list[str]


def build(
    fp32: Path,
    int8: Path | None,
    manifest: Manifest,
    config: BuildConfig,
    provenance: Mapping[str, Any],
    out: Path,
    progress: Progress,
) -> Built:
    """Measure the candidates on held-out images and on this machine, and write the bundle.

    Args:
        fp32: Folder of the FP32 model.
        int8: Folder of its INT8 model in the target's dialect, or None to consider FP32 alone.
        manifest: Has the split of the gate, and ``val`` for the operating thresholds.
        config: The settings.
        provenance: What earlier stages found that the card should repeat.
        out: The bundle's folder.
        progress: Hears of images done.

    Raises:
        GateRefused: The precision that was forced loses more than the limits allow. Nothing is
            written.
    """
    folders = {Precision.FP32: fp32} | ({Precision.INT8: int8} if int8 else {})
    cards = {p: read_card(folder, Kind.MODEL) for p, folder in folders.items()}
    for precision, folder in folders.items():
        check_files(folder, cards[precision])
    source = cards[Precision.FP32]
    check_labels(manifest, source.classifier.classes)
    held_out = _load(manifest, source, config.split, progress)
    validation = _load(manifest, source, Split.VAL, progress)
    models = {p: folder / FP32_NAME for p, folder in folders.items()}
    logits = {p: _infer(model, held_out.pixels) for p, model in models.items()}
    gates = {
        p: compare(
            logits[Precision.FP32], logits[p], held_out.labels, held_out.patients, config.limits
        )
        for p in models
    }
    progress.note("Timing the candidates side by side on this machine.")
    latencies = time_candidates(models, held_out.pixels[:1])
    candidates = [Candidate(p, models[p], gates[p], latencies[p]) for p in models]
    chosen, reason = choose(candidates, config.precision)
    thresholds = {
        p.value: operating_thresholds(
            _infer(model, validation.pixels), validation.labels, source, config.specificity
        )
        for p, model in models.items()
    }
    with atomic_folder(out) as folder:
        for precision, model in models.items():
            shutil.copyfile(model, folder / model_name(precision))
        bundles.write_golden(folder / bundles.GOLDEN_NAME, _goldens(held_out, logits))
        if int8:
            text = _calibration_csv(int8 / "calibration.csv")
            write_text(folder / bundles.CALIBRATION_NAME, text)
        card = _card(config, source, cards, manifest, chosen, candidates, thresholds, provenance)
        write_card(folder, card)
        if config.target.machine == this_machine():
            _stamp(folder, chosen.precision, latencies, reason)
    return Built(open_bundle(out), chosen.gate, [c.to_json() for c in candidates], reason)


def finish(path: Path, precision: PrecisionChoice, progress: Progress) -> Built:
    """On the device: replay the goldens, time what passed the gate, and write the passport.

    Args:
        path: A bundle.
        precision: ``auto`` for the fastest that passed, or one that the bundle holds.
        progress: Hears what is going on.

    Raises:
        GateRefused: The goldens come out differently here, or the forced precision did not pass.
    """
    bundle = open_bundle(path)
    golden = bundles.read_golden(bundle)
    gates = {p: _gate_of(bundle, p) for p in bundle.precisions}
    replays = {p: bundles.replay(bundle, p, golden) for p in bundle.precisions}
    progress.note("Timing the candidates side by side on this machine.")
    models = {p: path / model_name(p) for p in bundle.precisions}
    latencies = time_candidates(models, golden.pixels[:1])
    candidates = [
        Candidate(p, models[p], gates[p], latencies[p], replays[p].passed) for p in models
    ]
    chosen, reason = choose(candidates, precision)
    _stamp(path, chosen.precision, latencies, reason)
    return Built(open_bundle(path), chosen.gate, [c.to_json() for c in candidates], reason)


def choose(candidates: Sequence[Candidate], wanted: PrecisionChoice) -> tuple[Candidate, str]:
    """Return the candidate that ships and why.

    Raises:
        GateRefused: The forced one does not pass.
    """
    if wanted is not PrecisionChoice.AUTO:
        forced = next((c for c in candidates if c.precision.value == wanted.value), None)
        if forced is None:
            held = ", ".join(c.precision.value for c in candidates)
            raise CxredgeError(
                f"There is no {wanted.value} candidate; there is {held}.",
                f"Use --precision {candidates[0].precision.value}, or auto.",
            )
        _refuse_unless_passed(forced)
        return forced, f"{forced.precision.value} was asked for and passes the gate."
    passing = [c for c in candidates if c.gate.passed and c.golden_passed]
    if not passing:
        _refuse_unless_passed(candidates[0])
    best = min(passing, key=lambda c: c.latency.p50)
    return best, _why(best, candidates)


def time_candidates(models: Mapping[Precision, Path], image: GreyImage) -> dict[Precision, Latency]:
    """Time batch-1 inference of each model in turn, all threads, input in memory."""
    sessions = {p: open_session(path) for p, path in models.items()}
    calls = {p.value: (lambda s=session: s.infer(image)) for p, session in sessions.items()}
    taken = interleave(calls, _WARM_UP, _ROUNDS)
    return {p: summarise(taken[p.value]) for p in models}


def operating_thresholds(
    logits: Logits, labels: np.ndarray, card: Card, specificity: float
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


def _refuse_unless_passed(candidate: Candidate) -> None:
    if candidate.gate.passed and candidate.golden_passed:
        return
    name = candidate.precision.value
    details = {"gate": candidate.gate.to_json(), "precision": name}
    if not candidate.golden_passed:
        raise GateRefused(
            f"{name} refused: the golden images come out differently on this machine.",
            "See how far: cxredge verify BUNDLE",
            details,
        )
    raise GateRefused(
        f"{name} refused by the gate: {'; '.join(candidate.gate.reasons)}.",
        "Use --precision auto or fp32, more calibration images, or other limits.",
        details,
    )


def _why(best: Candidate, candidates: Sequence[Candidate]) -> str:
    parts = [f"{best.precision.value} is the fastest that passes the gate"]
    for other in candidates:
        if other is best:
            continue
        if not other.golden_passed:
            parts.append(f"{other.precision.value} gives other results on this machine")
        elif not other.gate.passed:
            parts.append(f"{other.precision.value} was refused: {'; '.join(other.gate.reasons)}")
        else:
            ratio = other.latency.p50 / best.latency.p50
            parts.append(f"{ratio:.2f} times as fast as {other.precision.value}")
    return ", ".join(parts) + "."


def _load(manifest: Manifest, card: Card, split: Split, progress: Progress) -> _HeldOut:
    entries = manifest.of(split)
    with progress.task(f"Decoding {split.value} images", len(entries)) as advance:
        pixels = load_pixels(entries, card.classifier.input_size, lambda: advance(1))
    labels = np.array([card.classifier.classes.index(entry.label) for entry in entries])
    return _HeldOut(pixels, labels, [entry.patient for entry in entries])


def _infer(model: Path, pixels: GreyImage) -> Logits:
    with open_session(model) as session:
        return np.concatenate(
            [session.infer(pixels[i : i + _BATCH]) for i in range(0, len(pixels), _BATCH)]
        )


def _goldens(held_out: _HeldOut, logits: Mapping[Precision, Logits]) -> Golden:
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


def _card(
    config: BuildConfig,
    source: Card,
    cards: Mapping[Precision, Card],
    manifest: Manifest,
    chosen: Candidate,
    candidates: Sequence[Candidate],
    thresholds: Mapping[str, Mapping[str, float]],
    provenance: Mapping[str, Any],
) -> Card:
    return Card(
        kind=Kind.BUNDLE,
        classifier=source.classifier,
        parents={
            "manifest": manifest.sha256,
            **{f"model_{c.precision.value}": sha256_of_file(c.model) for c in candidates},
        },
        config={
            "target": config.target.name,
            "backend": config.target.backend,
            "precision": config.precision.value,
            "gate": asdict(config.limits),
            "split": config.split.value,
            "specificity": config.specificity,
        },
        tools=tool_versions("onnx", "onnxruntime", "numpy", "pillow"),
        facts={
            "precision": chosen.precision.value,
            "gate": {c.precision.value: c.gate.to_json() for c in candidates},
            "thresholds": thresholds,
            "data": manifest.counts(),
            "warnings": source_warnings(manifest),
            "quantization": _without_costs(cards.get(Precision.INT8)),
            **provenance,
        },
    )


def _without_costs(card: Card | None) -> dict[str, Any] | None:
    if card is None:
        return None
    kept = ("steps", "agreement", "size_bytes", "size_bytes_fp32")
    return {
        "dialect": card.config["dialect"],
        "calibration_images": card.config["calibration_images"],
        **{key: card.facts[key] for key in kept},
    }


def _stamp(
    folder: Path, precision: Precision, latencies: Mapping[Precision, Latency], reason: str
) -> None:
    bundles.write_passport(
        folder,
        {
            "precision": precision.value,
            "engine": model_name(precision),
            "engine_sha256": sha256_of_file(folder / model_name(precision)),
            "reason": reason,
            "machine": read_machine().to_json(),
            "tools": tool_versions("onnxruntime", "numpy", "pillow"),
            "latency_ms": {p.value: latency.to_json() for p, latency in latencies.items()},
        },
    )


def _gate_of(bundle: Bundle, precision: Precision) -> GateResult:
    stored = bundle.card.facts["gate"][precision.value]
    return GateResult(**{k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()})
