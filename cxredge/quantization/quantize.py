"""FP32 model and calibration images in, INT8 model out, with what each step bought."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

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
from cxredge.backends.base import Logits
from cxredge.data.images import GreyImage
from cxredge.data.labelled import LabelledImages, load_labelled
from cxredge.data.manifest import Manifest, check_labels, load_pixels, write_manifest
from cxredge.inference import infer_file
from cxredge.progress import Progress
from cxredge.quantization.bias_correction import correct_biases, count_convolutions
from cxredge.quantization.calibration_set import check_apart, read_calibration
from cxredge.quantization.gate import GateLimits, Validation, compare
from cxredge.quantization.legality import require_legal
from cxredge.quantization.placement import place
from cxredge.quantization.qdq import emit
from cxredge.quantization.ranges import measure_ranges
from cxredge.quantization.stem import stem
from cxredge.vocabulary import Dialect, Split

_CORRECTION_IMAGES = 32


@dataclass(frozen=True)
class QuantizeConfig:
    """The settings of one quantization.

    Attributes:
        dialect: How INT8 is written.
        bias_correction: Whether biases are corrected.
        float_stem: Whether the first, cheap layers stay in float. Off for TensorRT, where layers
            between two number formats cost more than they do on a CPU.
        split: The split that INT8 is compared with FP32 on.
        limits: What INT8 may lose; they decide the verdict on the card, not the model.
        specificity: What operating thresholds reach on the manifest's validation images.
    """

    dialect: Dialect
    bias_correction: bool = True
    float_stem: bool = False
    split: Split = Split.TEST
    limits: GateLimits = field(default_factory=GateLimits)
    specificity: float = 0.9


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
        ``accuracy_int8``, ``comparison`` with the gate's verdict, ``seconds``, ``peak_rss_mb``.

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
    held_out = load_labelled(entries, source.classifier.classes, size, progress)
    graph, steps, logits = _quantize_graph(model, pixels, held_out, config, progress)
    onnx_graph.describe(graph, source.classifier, f"int8-{config.dialect.value}")
    with atomic_folder(out) as folder:
        path = folder / onnx_graph.FP32_NAME
        onnx.save(graph, path)
        classes = source.classifier.classes
        validation = _validation(
            (model / onnx_graph.FP32_NAME, path), evaluation, source, config, progress
        )
        best = compare(
            *logits, held_out.labels, held_out.patients, config.limits, classes, validation
        )
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
            "float_stem": config.float_stem,
            "split": config.split.value,
            "gate": asdict(config.limits),
            "specificity": config.specificity,
            "calibration_images": len(calibration.entries),
        },
        tools=tool_versions("onnx", "onnxruntime", "numpy"),
    )


def _quantize_graph(
    model: Path,
    pixels: GreyImage,
    held_out: LabelledImages,
    config: QuantizeConfig,
    progress: Progress,
) -> tuple[onnx.ModelProto, list[dict[str, Any]], tuple[Logits, Logits]]:
    """Run the steps; return the last graph, what each step bought, and FP32's and its logits."""
    fp32 = onnx_graph.read_model(model / onnx_graph.FP32_NAME)
    in_float = [f"{n} {kind}" for kind, n in place(fp32, config.dialect).in_float.items()]
    if in_float:
        progress.note(f"Stay in float: {', '.join(in_float)}.")
    with progress.task("Measuring ranges", len(pixels)) as advance:
        ranges = measure_ranges(fp32, pixels, advance)
    graphs = {"min-max ranges": emit(fp32, ranges, config.dialect)}
    keep = stem(fp32) if config.float_stem else frozenset()
    if keep:
        graphs["first layers in float"] = emit(fp32, ranges, config.dialect, keep=keep)
    if config.bias_correction:
        few = pixels[:_CORRECTION_IMAGES]
        with progress.task("Correcting biases", count_convolutions(fp32)) as advance:
            corrected = correct_biases(fp32, ranges, config.dialect, few, advance, keep)
        graphs["bias correction"] = emit(corrected, ranges, config.dialect, keep=keep)
    for graph in graphs.values():
        require_legal(graph, config.dialect)
    reference = infer_file(model / onnx_graph.FP32_NAME, held_out.pixels)
    logits = {name: _infer(graph, held_out.pixels) for name, graph in graphs.items()}
    results = {
        name: compare(reference, found, held_out.labels, held_out.patients, config.limits)
        for name, found in logits.items()
    }
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
    return graphs[kept], steps, (reference, logits[kept])


def _infer(graph: onnx.ModelProto, pixels: GreyImage) -> Logits:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "candidate.onnx"
        onnx.save(graph, path)
        return infer_file(path, pixels)


def _validation(
    models: tuple[Path, Path],
    manifest: Manifest,
    source: Card,
    config: QuantizeConfig,
    progress: Progress,
) -> Validation | None:
    """Run FP32 and INT8 on the manifest's validation images; None when it has none."""
    if Split.VAL.value not in manifest.counts():
        return None
    classifier = source.classifier
    entries = manifest.of(Split.VAL)
    images = load_labelled(entries, classifier.classes, classifier.input_size, progress)
    reference, candidate = (infer_file(path, images.pixels) for path in models)
    return Validation(reference, candidate, images.labels, config.specificity)
