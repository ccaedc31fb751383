"""Accuracy-aware search: a sequence of steps, each more costly, until INT8 is close to FP32.

The first steps cost nothing on the device: the best ranges, equalised channels, corrected weights
and biases, centred activations. The next ones cost speed: the most sensitive layers stay in float.
The last one, where training is possible, fine-tunes the quantized weights. All steps are evaluated
on validation images, so that the held-out images of the gate select nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import onnx

from cxredge.artifacts.quantization_record import TimedStep
from cxredge.data.images import GreyImage
from cxredge.progress import Progress
from cxredge.quantization.config import QuantizationPlan
from cxredge.quantization.correction.centring import centre
from cxredge.quantization.correction.equalisation import equalise
from cxredge.quantization.correction.reconstruction import (
    CorrectedModel,
    count_convolutions,
    reconstruct,
)
from cxredge.quantization.float_layers import (
    Sensitivity,
    group_layers,
    groups_needed,
    measure_sensitivities,
)
from cxredge.quantization.fp32_comparison import StepEvaluator, StepMetrics
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.qdq.legality import require_legal
from cxredge.quantization.ranges.statistics import Ranges, Statistics
from cxredge.vocabulary import Correction, Effort, RangeMethod

FIRST_IMAGES = 256
"""Number of calibration images for equalisation; layers are corrected on the first of them. With
256 instead of 128, MobileNet V1's logit error on validation images was 3 to 5% smaller."""

_CORRECTION_IMAGES = {
    Effort.QUICK: 32,
    Effort.DEFAULT: 64,
    Effort.EXTENSIVE: 128,
}
_SENSITIVITY_IMAGES = 16
_MAX_FLOAT_STEPS = {Effort.QUICK: 0, Effort.DEFAULT: 4, Effort.EXTENSIVE: 8}
"""Maximum number of steps with sensitive layers in float."""
_FIRST_MARGIN, _MARGIN = 0.75, 0.9
"""Share of the allowed logit error at which the next step aims: for the first step, and for those
after it. The few images on which sensitivity is measured predict too small an error, and a step
takes longer than one more float layer costs. On MobileNet V1, 0.0195, 0.0160 and 0.0144 were
predicted; 0.0235, 0.0206 and 0.0188 were measured."""


@dataclass(frozen=True)
class CalibratedModel:
    """A float network with the statistics and ranges of its activations.

    Attributes:
        model: The float network, equalised or centred or neither.
        statistics: Statistics of the calibration images on it.
        ranges: Ranges over which its activations are quantized.
    """

    model: onnx.ModelProto
    statistics: Statistics
    ranges: Ranges


@dataclass(frozen=True)
class SearchStep:
    """One step of the search.

    Attributes:
        name: Name of the step.
        source: The calibrated model that was quantized.
        corrected: The weights that were quantized, corrected or not.
        graph: The quantized graph.
        metrics: Accuracy on validation images, and size.
        in_float: Names of the convolutions and additions left in float.
        seconds: Time to make and evaluate the step.
    """

    name: str
    source: CalibratedModel
    corrected: CorrectedModel
    graph: onnx.ModelProto
    metrics: StepMetrics
    in_float: tuple[str, ...]
    seconds: float

    def record(self, latency_ms: float) -> TimedStep:
        """Return the step without graphs and statistics, with its latency on this machine."""
        return TimedStep(
            step=self.name,
            **asdict(self.metrics),
            in_float=self.in_float,
            seconds=round(self.seconds, 2),
            latency_ms_here=round(latency_ms, 3),
        )


Measure = Callable[[onnx.ModelProto, str], Statistics]
"""Measures a graph on all calibration images; the text is shown on the progress bar."""


FineTune = Callable[[onnx.ModelProto], onnx.ModelProto]
"""Trains the weights of a quantized graph and returns a new graph."""


class QuantizationSearch:
    """Search for the first INT8 graph that meets a goal.

    Args:
        plan: Settings of the search.
        measure: Measures a graph on the calibration images.
        pixels: uint8 (N, S, S), the first calibration images, used to equalise and correct.
        evaluator: Compares steps with FP32 on validation images.
        progress: Progress listener.
        fine_tune: Fine-tuning for the last step; None if training is not possible.

    Attributes:
        steps: All steps made, in order.
        evaluator: As passed.
    """

    def __init__(
        self,
        plan: QuantizationPlan,
        measure: Measure,
        pixels: GreyImage,
        evaluator: StepEvaluator,
        progress: Progress,
        fine_tune: FineTune | None = None,
    ) -> None:
        self.steps: list[SearchStep] = []
        self.evaluator = evaluator
        self._plan, self._measure, self._pixels = plan, measure, pixels
        self._progress, self._fine_tune = progress, fine_tune
        self._since = time.perf_counter()

    def run(self, model: onnx.ModelProto) -> SearchStep:
        """Try steps until one meets the goal, and return the one with the smallest logit error.

        Args:
            model: The FP32 model.
        """
        plain, method = self._with_best_ranges(model)
        calibrated = self._equalised(plain, method) if self._plan.equalise else plain
        if self._plan.correction is not Correction.NONE:
            worse = self.steps[-1] is not self._best
            self._correct_and_centre(calibrated)
            if calibrated is not plain and worse and not self._done:
                self._correct_and_centre(plain, ", channels as they were")
        source = self._best.source
        for sensitive in self._sensitive_layers():
            if self._done:
                break
            self._correct(source, self._plan.keep | sensitive)
        if self._fine_tune is not None and not self._done:
            best = self._best
            graph = self._fine_tune(best.graph)
            self._add(
                "fine-tuned weights", best.source, best.corrected, graph, frozenset(best.in_float)
            )
        return self._best

    @property
    def _done(self) -> bool:
        return self._plan.goal.is_met(self._best.metrics)

    @property
    def _best(self) -> SearchStep:
        return min(self.steps, key=lambda step: step.metrics.logit_error)

    def _with_best_ranges(self, model: onnx.ModelProto) -> tuple[CalibratedModel, RangeMethod]:
        statistics = self._measure(model, "Measuring activations")
        tried = []
        for method in self._plan.methods:
            ranges = statistics.ranges(method, self._plan.symmetric)
            source = CalibratedModel(model, statistics, ranges)
            step = self._quantize(f"{method.value} ranges", source)
            tried.append((step.metrics.logit_error, source, method))
        _, source, method = min(tried, key=lambda one: one[0])
        return source, method

    def _equalised(self, source: CalibratedModel, method: RangeMethod) -> CalibratedModel:
        """Return the equalised network, even if its error is larger before correction.

        It was the better start for corrections in all five cases compared on MobileNet V1 and V2,
        in four of them despite a larger error before: V1's logit error was 0.011 with it, 0.014
        without. A ResNet50V2 after little training was the opposite (0.041, 0.032).
        """
        with self._progress.task("Equalising channels", len(self._pixels)) as advance:
            equalised = equalise(source.model, self._pixels, advance)
        statistics = self._measure(equalised, "Measuring equalised activations")
        ranges = statistics.ranges(method, self._plan.symmetric)
        result = CalibratedModel(equalised, statistics, ranges)
        self._quantize("equalised channels", result)
        return result

    def _correct_and_centre(self, source: CalibratedModel, note: str = "") -> None:
        """Correct a network, and again with centred activations if the plan requests it.

        Centring cannot be judged before correction: rounding changes the sums of weights, which
        then shifts whole channels until their biases are corrected.
        """
        keep = self._plan.keep
        self._correct(source, keep, note)
        if not self._plan.centre or self._done:
            return
        centred = centre(source.model, source.ranges)
        if centred.moves:
            statistics = source.statistics.moved(centred.moves)
            moved = CalibratedModel(centred.model, statistics, centred.ranges)
            self._correct(moved, keep, f"{note}, activations centred")

    def _correct(self, source: CalibratedModel, keep: frozenset[str], note: str = "") -> None:
        dialect, correction = self._plan.dialect, self._plan.correction
        corrected = CorrectedModel(source.model, {})
        if correction is not Correction.NONE:
            pixels = self._pixels[: _CORRECTION_IMAGES[self._plan.effort]]
            count = count_convolutions(source.model)
            weights = correction is Correction.WEIGHTS
            with self._progress.task("Correcting layers", count) as advance:
                corrected = reconstruct(
                    source.model, source.ranges, dialect, pixels, advance, keep, weights=weights
                )
        name = f"corrected {correction.value}{note}"
        convolutions = {n.name for n in source.model.graph.node if n.op_type == "Conv"}
        if count := len(convolutions & (keep - self._plan.keep)):
            name = f"{count} sensitive layer{'s' if count > 1 else ''} in float"
        graph = emit(corrected.model, source.ranges, dialect, False, keep, corrected.scales)
        self._add(name, source, corrected, graph, keep)

    def _sensitive_layers(self) -> Iterator[frozenset[str]]:
        """Yield growing sets of the most sensitive layers, measured when the first is requested.

        Sensitivity is measured with corrected weights, so it is what correction leaves: the
        rounding of the layer's input. For a logit error of 0.02 in TensorRT's dialect on CXR B's
        validation images, MobileNet V1 then keeps 3 of 27 layers in float and V2 22 of 52; measured
        without correction it would be 4 and 26.
        """
        max_steps, goal = _MAX_FLOAT_STEPS[self._plan.effort], self._plan.goal
        best = self._best
        groups = group_layers(best.source.model, self._plan.keep)
        if not max_steps or not groups or self._done:
            return
        order = self._sensitivities(best, groups)
        # With more than half of the layers in float, plain FP16 or FP32 is the better choice.
        most, count = max(1, len(order) // 2), 0
        error = best.metrics.logit_error
        for step in range(max_steps):
            margin = _MARGIN if step else _FIRST_MARGIN
            least = count + max(1, count // 4)
            needed = groups_needed(order, count, error, margin * goal.max_logit_error)
            count = min(most, max(least, needed))
            yield frozenset(name for one in order[:count] for name in one.nodes)
            if count == most:
                return
            error = self.steps[-1].metrics.logit_error

    def _sensitivities(
        self, step: SearchStep, groups: Sequence[tuple[str, ...]]
    ) -> list[Sensitivity]:
        pixels = self._pixels[:_SENSITIVITY_IMAGES]
        dialect, keep = self._plan.dialect, self._plan.keep
        with self._progress.task("Measuring sensitivity", len(groups)) as advance:
            return measure_sensitivities(
                step.corrected, step.source.ranges, dialect, groups, pixels, advance, keep
            )

    def _quantize(self, name: str, source: CalibratedModel) -> SearchStep:
        keep = self._plan.keep
        graph = emit(source.model, source.ranges, self._plan.dialect, keep=keep)
        return self._add(name, source, CorrectedModel(source.model, {}), graph, keep)

    def _add(
        self,
        name: str,
        source: CalibratedModel,
        corrected: CorrectedModel,
        graph: onnx.ModelProto,
        keep: frozenset[str],
    ) -> SearchStep:
        require_legal(graph, self._plan.dialect)
        metrics = self.evaluator.evaluate(graph)
        now = time.perf_counter()
        step = SearchStep(
            name, source, corrected, graph, metrics, tuple(sorted(keep)), now - self._since
        )
        self._since = now
        self.steps.append(step)
        return step
