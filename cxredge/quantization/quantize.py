"""Quantization of an FP32 model folder to an INT8 model folder, with the record of every step."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import onnx

from cxredge.artifacts.atomic import write_json
from cxredge.artifacts.card import (
    Artifact,
    ArtifactKind,
    ClassifierSpec,
    StagePlan,
    tool_versions,
    up_to_date,
    write_card,
)
from cxredge.artifacts.disk_space import writing
from cxredge.artifacts.exclusive import exclusive
from cxredge.artifacts.folder import atomic_folder
from cxredge.artifacts.model_card import (
    ExportedCard,
    QuantizationConfig,
    QuantizationFacts,
    QuantizedCard,
)
from cxredge.artifacts.quantization_record import LayerNoise, TimedStep
from cxredge.artifacts.records import to_json
from cxredge.artifacts.training_images import copy_training_images, training_images_parent
from cxredge.data.loading import load_labelled
from cxredge.data.manifest import Manifest, check_labels, write_manifest
from cxredge.gate.gate import GateResult
from cxredge.graph import model_file as onnx_graph
from cxredge.progress import Progress
from cxredge.quantization.calibration import measure_cached
from cxredge.quantization.calibration_set import check_apart, read_calibration, too_few_images
from cxredge.quantization.config import QuantizeConfig
from cxredge.quantization.float_layers import stem
from cxredge.quantization.fp32_comparison import (
    Fp32Reference,
    compare_with_fp32,
    run_fp32,
    step_evaluator,
)
from cxredge.quantization.layer_noise import measure_layers
from cxredge.quantization.qdq.placement import place
from cxredge.quantization.ranges.statistics import Ranges, Statistics
from cxredge.quantization.search import FIRST_IMAGES, FineTune, QuantizationSearch, SearchStep
from cxredge.quantization.step_latency import time_steps
from cxredge.vocabulary import Dialect, JudgedOn, Precision

RANGES_NAME = "ranges.json"


@dataclass(frozen=True)
class Tuning:
    """Fine-tuning of the quantized weights, for the last step of the search.

    Attributes:
        run_sha256: SHA-256 of the card of the run whose training images are used.
        fine_tune: Trains the weights of a quantized graph.
    """

    run_sha256: str
    fine_tune: FineTune


@dataclass(frozen=True)
class _Inputs:
    """Checked inputs of a quantization.

    Attributes:
        model: The FP32 model.
        calibration: The calibration list.
        evaluation: Manifest of the images on which INT8 is compared.
        config: The settings.
        tuning: Fine-tuning, if possible.
    """

    model: Artifact[ExportedCard]
    calibration: Manifest
    evaluation: Manifest
    config: QuantizeConfig
    tuning: Tuning | None

    @property
    def fp32(self) -> Path:
        """The FP32 ONNX file."""
        return self.model.path / onnx_graph.FP32_NAME

    @property
    def classifier(self) -> ClassifierSpec:
        """The network of the FP32 model."""
        return self.model.card.classifier

    def plan(self) -> StagePlan[QuantizationConfig]:
        """Return what decides the INT8 model."""
        return StagePlan(
            kind=ArtifactKind.MODEL,
            classifier=self.classifier,
            parents={
                "fp32": self.model.card.files[onnx_graph.FP32_NAME],
                "calibration": self.calibration.sha256,
                "evaluation": self.evaluation.sha256,
                **({"run": self.tuning.run_sha256} if self.tuning else {}),
                **training_images_parent(self.model.card),
            },
            config=self.config.record(len(self.calibration.entries)),
            tools=tool_versions("onnx", "onnxruntime", "numpy"),
        )


@dataclass(frozen=True)
class _Result:
    """The chosen step of a finished search, and how it was reached.

    Attributes:
        chosen: The step that becomes the INT8 model.
        steps: All steps with their latency.
        latency_ms_fp32: Latency of FP32 on this machine.
        layers: Quantization noise of each layer of the chosen step.
        judged_on: The images on which steps were compared.
    """

    chosen: SearchStep
    steps: tuple[TimedStep, ...]
    latency_ms_fp32: float
    layers: tuple[LayerNoise, ...]
    judged_on: JudgedOn


def quantize(
    model: Artifact[ExportedCard],
    calibration_path: Path,
    evaluation: Manifest,
    config: QuantizeConfig,
    out: Path,
    progress: Progress,
    tuning: Tuning | None = None,
    statistics: Path | None = None,
) -> QuantizedCard:
    """Quantize a model and compare it with FP32 after every step.

    Args:
        model: An FP32 model.
        calibration_path: The calibration list.
        evaluation: Manifest whose ``config.split`` is used for the comparison.
        config: The settings.
        out: Folder of the INT8 model to write: ``model.onnx``, ``quantization.json``,
            ``ranges.json`` (range of each activation), ``calibration.csv``, ``card.json``.
        progress: Progress listener.
        tuning: Fine-tuning for the last step of the search; None if there is no run.
        statistics: Cache folder for measured activations; None to disable caching.

    Returns:
        The INT8 model's card.

    Raises:
        CxredgeError: An input is damaged or has other classes, calibration and evaluation share
            images or patients, or another process is writing ``out``.
    """
    inputs = _checked_inputs(model, calibration_path, evaluation, config, tuning)
    with exclusive(out):
        return _quantize(inputs, out, progress, statistics)


def _quantize(
    inputs: _Inputs, out: Path, progress: Progress, statistics: Path | None
) -> QuantizedCard:
    planned, config = inputs.plan(), inputs.config
    if (existing := up_to_date(out, planned, QuantizedCard)) is not None:
        progress.note(f"{out} is up to date.")
        return existing.card
    warning = too_few_images(inputs.calibration)
    if warning:
        progress.note(warning)
    start = time.perf_counter()
    classifier = inputs.classifier
    reference = run_fp32(inputs.evaluation, config.split, classifier, inputs.fp32, progress)
    result = _search(inputs, reference, progress, statistics)
    graph = result.chosen.graph
    onnx_graph.write_metadata(graph, classifier, f"int8-{config.dialect.value}")
    room = writing(out.parent, graph.ByteSize(), f"the model {out.name}")
    with room, atomic_folder(out, ArtifactKind.MODEL.value) as folder:
        path = folder / onnx_graph.FP32_NAME
        onnx.save(graph, path)
        comparison = compare_with_fp32(
            path, reference, classifier.classes, config.limits, config.specificity
        )
        write_manifest(folder / "calibration.csv", inputs.calibration.entries)
        facts = QuantizationFacts(
            agreement=comparison.agreement,
            accuracy_fp32=comparison.accuracy_fp32,
            accuracy_int8=comparison.accuracy,
            size_bytes=path.stat().st_size,
            size_bytes_fp32=inputs.fp32.stat().st_size,
            judged_on=result.judged_on,
            chosen=result.chosen.name,
            in_float=result.chosen.in_float,
            steps=result.steps,
            latency_ms_here_fp32=result.latency_ms_fp32,
            comparison=comparison,
            warnings=(warning,) if warning else (),
            recommended=_recommended(comparison, config.dialect),
            layers=result.layers,
            seconds=round(time.perf_counter() - start, 2),
            peak_rss_mb=peak_rss_mb(),
        )
        copy_training_images(inputs.model.path, inputs.model.card, folder)
        write_json(folder / "quantization.json", to_json(facts))
        write_json(folder / RANGES_NAME, _ranges_json(result.chosen.source.ranges))
        return write_card(folder, QuantizedCard.of(planned, facts))


def peak_rss_mb() -> float:
    """Return the peak resident memory of this process in megabytes (10^6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)


def _checked_inputs(
    model: Artifact[ExportedCard],
    calibration_path: Path,
    evaluation: Manifest,
    config: QuantizeConfig,
    tuning: Tuning | None,
) -> _Inputs:
    classifier = model.card.classifier
    calibration = read_calibration(calibration_path)
    check_labels(evaluation, classifier.classes)
    check_labels(calibration, classifier.classes)
    check_apart(calibration, evaluation, config.split)
    return _Inputs(model, calibration, evaluation, config, tuning)


def _search(
    inputs: _Inputs, reference: Fp32Reference, progress: Progress, statistics: Path | None
) -> _Result:
    """Run the search, time its steps and measure the layers of the chosen one."""
    search = _prepared_search(inputs, reference, progress, statistics)
    chosen = search.run(onnx_graph.read_model(inputs.fp32))
    pixels = search.evaluator.pixels
    progress.note("Timing the steps side by side on this machine.")
    latency_fp32, *latencies = time_steps(
        inputs.fp32, [step.graph for step in search.steps], pixels[:1]
    )
    source = chosen.source
    layers = measure_layers(
        source.model, chosen.graph, source.statistics, source.ranges, pixels, chosen.in_float
    )
    return _Result(
        chosen,
        tuple(step.record(latency) for step, latency in zip(search.steps, latencies, strict=True)),
        round(latency_fp32, 3),
        tuple(layer.rounded() for layer in layers),
        search.evaluator.images,
    )


def _prepared_search(
    inputs: _Inputs, reference: Fp32Reference, progress: Progress, statistics: Path | None
) -> QuantizationSearch:
    config, entries = inputs.config, inputs.calibration.entries
    classifier = inputs.classifier
    size = classifier.input_size
    model = onnx_graph.read_model(inputs.fp32)
    in_float = place(model, config.dialect).in_float
    progress.note(f"Stay in float: {', '.join(f'{n} {kind}' for kind, n in in_float.items())}.")
    first = load_labelled(entries[:FIRST_IMAGES], classifier.classes, size, progress)

    def measure(graph: onnx.ModelProto, title: str) -> Statistics:
        with progress.task(title, len(entries)) as advance:
            return measure_cached(graph, entries, size, advance, statistics, dialect=config.dialect)

    evaluator = step_evaluator(inputs.fp32, reference, first, progress)
    plan = config.plan(stem(model) if config.float_stem else frozenset())
    fine_tune = inputs.tuning.fine_tune if inputs.tuning else None
    return QuantizationSearch(plan, measure, first.pixels, evaluator, progress, fine_tune)


def _recommended(found: GateResult, dialect: Dialect) -> Precision:
    """Return the precision to deploy: INT8, or the next one of the target if INT8 is refused."""
    instead = Precision.FP16 if dialect is Dialect.TENSORRT else Precision.FP32
    return Precision.INT8 if found.passed else instead


def _ranges_json(ranges: Ranges) -> dict[str, list[float]]:
    return {name: [float(low), float(high)] for name, (low, high) in ranges.items()}
