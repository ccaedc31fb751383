"""FP32 model and calibration images in, INT8 model out, with what each step bought."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from cxredge.artifacts.card import (
    ArtifactKind,
    Card,
    check_files,
    read_card,
    sha256_of_file,
    tool_versions,
    up_to_date,
    write_card,
    write_json,
)
from cxredge.artifacts.disk_space import writing
from cxredge.artifacts.folder import atomic_folder
from cxredge.backends.batched import infer_file
from cxredge.data.loading import LabelledImages, load_labelled
from cxredge.data.manifest import Manifest, check_labels, write_manifest
from cxredge.gate.gate import GateResult
from cxredge.graph import model_file as onnx_graph
from cxredge.progress import Progress
from cxredge.quantization.calibration import measure_cached
from cxredge.quantization.calibration_set import check_apart, read_calibration, too_few_images
from cxredge.quantization.evidence import measure_layers
from cxredge.quantization.judge import Judge
from cxredge.quantization.ladder import FIRST_IMAGES, Climb, FineTune
from cxredge.quantization.qdq.placement import place
from cxredge.quantization.ranges.statistics import Statistics
from cxredge.quantization.rung_latency import LATENCY_HERE, time_rungs
from cxredge.quantization.seen import Seen, compare_with_fp32, see
from cxredge.quantization.settings import QuantizeConfig
from cxredge.quantization.stem import stem
from cxredge.vocabulary import Dialect, JudgedOn, Precision

RANGES_NAME = "ranges.json"

_JUDGED_IMAGES = 300
"""Most validation images that a step is judged on: enough to see a decision in a hundred change."""


@dataclass(frozen=True)
class Tuning:
    """How weights can be fine-tuned where nothing cheaper is enough.

    Attributes:
        run_sha256: SHA-256 of the card of the run whose training images are used.
        fine_tune: Does it.
    """

    run_sha256: str
    fine_tune: FineTune


def quantize(
    model: Path,
    calibration_path: Path,
    evaluation: Manifest,
    config: QuantizeConfig,
    out: Path,
    progress: Progress,
    tuning: Tuning | None = None,
    statistics: Path | None = None,
) -> Card:
    """Quantize a model and compare it with FP32 after every step.

    Args:
        model: Folder of an FP32 model.
        calibration_path: The calibration list.
        evaluation: Manifest whose ``config.split`` the comparison is made on.
        config: The settings.
        out: Folder of the INT8 model: ``model.onnx``, ``quantization.json``, ``ranges.json`` (least
            and largest value of each activation), ``calibration.csv``, ``card.json``.
        progress: Hears of images and layers done.
        tuning: The last rung, where there is a run to start from.
        statistics: Folder where measured activations are kept and looked for; None for nowhere.

    Returns:
        The INT8 model's card; ``facts`` has ``steps``, ``agreement``, ``accuracy_fp32``,
        ``accuracy_int8``, ``comparison`` with the gate's verdict, ``recommended``, ``layers``,
        ``seconds``, ``peak_rss_mb``.

    Raises:
        CxredgeError: An input is damaged, has other classes, or calibration and evaluation share
            images.
    """
    source = read_card(model, ArtifactKind.MODEL)
    check_files(model, source)
    calibration = read_calibration(calibration_path)
    check_labels(evaluation, source.classifier.classes)
    check_labels(calibration, source.classifier.classes)
    check_apart(calibration, evaluation, config.split)
    planned = _plan(model, source, calibration, evaluation, config, tuning)
    if (existing := up_to_date(out, planned)) is not None:
        progress.note(f"{out} is up to date.")
        return existing
    if warning := too_few_images(calibration):
        progress.note(warning)
    start = time.perf_counter()
    fp32 = model / onnx_graph.FP32_NAME
    seen = see(evaluation, config.split, source.classifier, fp32, progress)
    climb = _climb(fp32, calibration, seen, source, config, progress, tuning, statistics)
    rung, rungs = climb.best(onnx_graph.read_model(fp32)), climb.rungs
    judged_on = climb.judge.pixels
    progress.note("Timing the steps side by side on this machine.")
    latencies = time_rungs(fp32, rungs, judged_on[:1])
    layers = measure_layers(
        rung.stand.model,
        rung.graph,
        rung.stand.statistics,
        rung.stand.ranges,
        judged_on,
        rung.in_float,
    )
    onnx_graph.describe(rung.graph, source.classifier, f"int8-{config.dialect.value}")
    room = writing(out.parent, rung.graph.ByteSize(), f"the model {out.name}")
    with room, atomic_folder(out, ArtifactKind.MODEL.value) as folder:
        path = folder / onnx_graph.FP32_NAME
        onnx.save(rung.graph, path)
        classes = source.classifier.classes
        best = compare_with_fp32(path, seen, classes, config.limits, config.specificity)
        write_manifest(folder / "calibration.csv", calibration.entries)
        facts = {
            "agreement": best.agreement,
            "accuracy_fp32": best.accuracy_fp32,
            "accuracy_int8": best.accuracy,
            "size_bytes": path.stat().st_size,
            "size_bytes_fp32": fp32.stat().st_size,
            "judged_on": climb.judge.images.value,
            "chosen": rung.step,
            "in_float": list(rung.in_float),
            "steps": [
                {**one.to_json(), LATENCY_HERE: round(latency, 3)}
                for one, latency in zip(rungs, latencies[1:], strict=True)
            ],
            "latency_ms_here_fp32": round(latencies[0], 3),
            "comparison": best.to_json(),
            "warnings": [warning] if warning else [],
            "recommended": _recommended(best, config.dialect),
            "layers": [layer.to_json() for layer in layers],
            "seconds": round(time.perf_counter() - start, 2),
            "peak_rss_mb": peak_rss_mb(),
        }
        write_json(folder / "quantization.json", facts)
        write_json(
            folder / RANGES_NAME, {k: [*map(float, v)] for k, v in rung.stand.ranges.items()}
        )
        return write_card(folder, replace(planned, facts=facts))


def peak_rss_mb() -> float:
    """Return the most memory this process has had resident, in megabytes (10^6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)


def _recommended(found: GateResult, dialect: Dialect) -> str:
    """Return the precision to ship: where INT8 loses too much, the next that the target has."""
    instead = Precision.FP16 if dialect is Dialect.TENSORRT else Precision.FP32
    return str((Precision.INT8 if found.passed else instead).value)


def _plan(
    model: Path,
    source: Card,
    calibration: Manifest,
    evaluation: Manifest,
    config: QuantizeConfig,
    tuning: Tuning | None,
) -> Card:
    return Card(
        kind=ArtifactKind.MODEL,
        classifier=source.classifier,
        parents={
            "fp32": sha256_of_file(model / onnx_graph.FP32_NAME),
            "calibration": calibration.sha256,
            "evaluation": evaluation.sha256,
            **({"run": tuning.run_sha256} if tuning else {}),
        },
        config={**config.to_json(), "calibration_images": len(calibration.entries)},
        tools=tool_versions("onnx", "onnxruntime", "numpy"),
    )


def _judge(fp32: Path, seen: Seen, few: LabelledImages, progress: Progress) -> Judge:
    """Return a judge on validation images, evenly chosen, or without any on calibration images."""
    held, logits = seen.validation, seen.validation_reference
    if held is None or logits is None:
        progress.note("There are no validation images: steps are judged on calibration images.")
        return Judge(few.pixels, few.labels, infer_file(fp32, few.pixels), JudgedOn.CALIBRATION)
    some = np.unique(np.linspace(0, len(logits) - 1, _JUDGED_IMAGES).astype(int))
    return Judge(held.pixels[some], held.labels[some], logits[some], JudgedOn.VALIDATION)


def _climb(
    fp32: Path,
    calibration: Manifest,
    seen: Seen,
    source: Card,
    config: QuantizeConfig,
    progress: Progress,
    tuning: Tuning | None,
    statistics: Path | None,
) -> Climb:
    """Return the ladder, ready to be climbed."""
    model = onnx_graph.read_model(fp32)
    size = source.classifier.input_size
    in_float = place(model, config.dialect).in_float
    progress.note(f"Stay in float: {', '.join(f'{n} {kind}' for kind, n in in_float.items())}.")
    few = load_labelled(
        calibration.entries[:FIRST_IMAGES], source.classifier.classes, size, progress
    )

    def measure(graph: onnx.ModelProto, title: str) -> Statistics:
        entries = calibration.entries
        with progress.task(title, len(entries)) as advance:
            return measure_cached(graph, entries, size, advance, statistics, dialect=config.dialect)

    judge = _judge(fp32, seen, few, progress)
    keep = stem(model) if config.float_stem else frozenset()
    fine_tune = tuning.fine_tune if tuning else None
    return Climb(config.plan(keep), measure, few.pixels, judge, progress, fine_tune)
