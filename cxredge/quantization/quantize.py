"""FP32 model and calibration images in, INT8 model out, with what each step bought."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from cxredge import onnx_graph
from cxredge.artifacts import (
    Card,
    Kind,
    atomic_folder,
    check_files,
    read_card,
    sha256_of_file,
    tool_versions,
    up_to_date,
    write_card,
    write_json,
)
from cxredge.backends import open_session
from cxredge.backends.base import Logits
from cxredge.data.images import GreyImage
from cxredge.data.manifest import Entry, Manifest, check_labels, load_pixels, write_manifest
from cxredge.progress import Progress
from cxredge.quantization.bias_correction import correct_biases, count_convolutions
from cxredge.quantization.calibration_set import check_apart, read_calibration
from cxredge.quantization.gate import GateLimits, GateResult, compare
from cxredge.quantization.qdq import emit
from cxredge.quantization.ranges import measure_ranges
from cxredge.vocabulary import Dialect, Split

_CORRECTION_IMAGES = 32
_BATCH = 16


@dataclass(frozen=True)
class QuantizeConfig:
    """The settings of one quantization.

    Attributes:
        dialect: How INT8 is written.
        bias_correction: Whether biases are corrected.
        split: The split that INT8 is compared with FP32 on.
    """

    dialect: Dialect
    bias_correction: bool = True
    split: Split = Split.TEST


@dataclass(frozen=True)
class Evaluation:
    """Held-out images in memory and what FP32 says of them."""

    pixels: GreyImage
    labels: np.ndarray
    patients: list[str]
    fp32: Logits


def quantize(
    model: Path,
    calibration_path: Path,
    evaluation: Manifest,
    config: QuantizeConfig,
    out: Path,
    progress: Progress,
) -> Card:
    """Quantize a model and compare it with FP32 after every step.

    Args:
        model: Folder of an FP32 model.
        calibration_path: The calibration list.
        evaluation: Manifest whose ``config.split`` the comparison is made on.
        config: The settings.
        out: Folder of the INT8 model: ``model.onnx``, ``quantization.json``, ``card.json``.
        progress: Hears of images and layers done.

    Returns:
        The INT8 model's card; ``facts`` has ``steps``, ``agreement``, ``accuracy_fp32``,
        ``accuracy_int8``, ``seconds``, ``peak_rss_mb``.

    Raises:
        CxredgeError: An input is damaged, has other classes, or calibration and evaluation share
            images.
    """
    source = read_card(model, Kind.MODEL)
    check_files(model, source)
    calibration = read_calibration(calibration_path)
    entries = evaluation.of(config.split)
    check_labels(evaluation, source.classifier.classes)
    check_labels(calibration, source.classifier.classes)
    check_apart(calibration, entries)
    planned = _plan(model, source, calibration, evaluation, config)
    if (existing := up_to_date(out, planned)) is not None:
        progress.note(f"{out} is up to date.")
        return existing
    start = time.perf_counter()
    size = source.classifier.input_size
    with progress.task("Decoding calibration images", len(calibration.entries)) as advance:
        pixels = load_pixels(calibration.entries, size, lambda: advance(1))
    held_out = load_evaluation(model / onnx_graph.FP32_NAME, source, entries, progress)
    graph, steps, best = _quantize_graph(model, pixels, held_out, config, progress)
    onnx_graph.describe(graph, source.classifier, f"int8-{config.dialect.value}")
    with atomic_folder(out) as folder:
        path = folder / onnx_graph.FP32_NAME
        onnx.save(graph, path)
        write_manifest(folder / "calibration.csv", calibration.entries)
        facts = {
            "agreement": best.agreement,
            "accuracy_fp32": best.accuracy_fp32,
            "accuracy_int8": best.accuracy,
            "size_bytes": path.stat().st_size,
            "size_bytes_fp32": (model / onnx_graph.FP32_NAME).stat().st_size,
            "steps": steps,
            "comparison": best.to_json(),
            "seconds": round(time.perf_counter() - start, 2),
            "peak_rss_mb": peak_rss_mb(),
        }
        write_json(folder / "quantization.json", facts)
        return write_card(folder, replace(planned, facts=facts))


def load_evaluation(
    fp32: Path, card: Card, entries: tuple[Entry, ...], progress: Progress
) -> Evaluation:
    """Decode held-out images and let FP32 judge them."""
    with progress.task("Decoding held-out images", len(entries)) as advance:
        pixels = load_pixels(entries, card.classifier.input_size, lambda: advance(1))
    labels = np.array([card.classifier.classes.index(entry.label) for entry in entries])
    patients = [entry.patient for entry in entries]
    return Evaluation(pixels, labels, patients, infer_all(fp32, pixels))


def infer_all(path: Path, pixels: GreyImage) -> Logits:
    """Return float32 logits (N, classes) of uint8 images (N, S, S)."""
    with open_session(path) as session:
        return np.concatenate(
            [session.infer(pixels[i : i + _BATCH]) for i in range(0, len(pixels), _BATCH)]
        )


def peak_rss_mb() -> float:
    """Return the most memory this process has had resident, in megabytes (10^6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)


def _plan(
    model: Path, source: Card, calibration: Manifest, evaluation: Manifest, config: QuantizeConfig
) -> Card:
    return Card(
        kind=Kind.MODEL,
        classifier=source.classifier,
        parents={
            "fp32": sha256_of_file(model / onnx_graph.FP32_NAME),
            "calibration": calibration.sha256,
            "evaluation": evaluation.sha256,
        },
        config={
            "precision": "int8",
            "dialect": config.dialect.value,
            "bias_correction": config.bias_correction,
            "split": config.split.value,
            "calibration_images": len(calibration.entries),
        },
        tools=tool_versions("onnx", "onnxruntime", "numpy"),
    )


def _quantize_graph(
    model: Path,
    pixels: GreyImage,
    held_out: Evaluation,
    config: QuantizeConfig,
    progress: Progress,
) -> tuple[onnx.ModelProto, list[dict[str, Any]], GateResult]:
    """Run the steps; keep the graph that disturbs the logits least."""
    fp32 = onnx_graph.read_model(model / onnx_graph.FP32_NAME)
    with progress.task("Measuring ranges", len(pixels)) as advance:
        ranges = measure_ranges(fp32, pixels, advance)
    graphs = {"min-max ranges": emit(fp32, ranges, config.dialect)}
    if config.bias_correction:
        few = pixels[:_CORRECTION_IMAGES]
        with progress.task("Correcting biases", count_convolutions(fp32)) as advance:
            corrected = correct_biases(fp32, ranges, config.dialect, few, advance)
        graphs["bias correction"] = emit(corrected, ranges, config.dialect)
    results = {name: _judge(graph, held_out) for name, graph in graphs.items()}
    kept = list(graphs)[-1]
    steps = [
        {
            "step": name,
            "agreement": result.agreement,
            "accuracy": result.accuracy,
            "logit_error": round(result.logit_error, 5),
        }
        for name, result in results.items()
    ]
    return graphs[kept], steps, results[kept]


def _judge(graph: onnx.ModelProto, held_out: Evaluation) -> GateResult:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "candidate.onnx"
        onnx.save(graph, path)
        logits = infer_all(path, held_out.pixels)
    return compare(held_out.fp32, logits, held_out.labels, held_out.patients, GateLimits())
