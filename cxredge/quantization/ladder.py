"""The ladder: INT8 made better rung by rung, until it decides as FP32 does.

Cheap rungs come first: the best ranges, channels equalised, activations centred, weights and biases
corrected. They cost nothing on the device. What is still missing is bought with speed: the most
sensitive layers stay in float. Where that is not enough either, and training is possible, the
quantized weights are fine-tuned. Every rung is judged on validation images, so the test split that
the gate looks at chooses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import onnx

from cxredge.data.images import GreyImage
from cxredge.progress import Progress
from cxredge.quantization.correction.centring import centre
from cxredge.quantization.correction.equalisation import equalise
from cxredge.quantization.correction.reconstruction import (
    Reconstructed,
    count_convolutions,
    reconstruct,
)
from cxredge.quantization.judge import Judge, Judgement
from cxredge.quantization.plan import Plan
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.qdq.legality import require_legal
from cxredge.quantization.ranges.statistics import Ranges, Statistics
from cxredge.quantization.sensitivity import (
    Sensitivity,
    groups_needed,
    groups_of,
    measure_sensitivities,
)
from cxredge.vocabulary import Correction, Effort, RangeMethod

FIRST_IMAGES = 256
"""Calibration images that channels are equalised on, and the first of them corrected on. With 256
instead of 128, MobileNet V1's logits were 3 to 5% closer on validation images."""

_CORRECTION_IMAGES = {
    Effort.QUICK: 32,
    Effort.DEFAULT: 64,
    Effort.EXTENSIVE: 128,
}
_SENSITIVITY_IMAGES = 16
_FLOAT_RUNGS = {Effort.QUICK: 0, Effort.DEFAULT: 4, Effort.EXTENSIVE: 8}
"""Rungs with layers in float, at most."""
_FIRST_RESERVE, _RESERVE = 0.75, 0.9
"""What is asked of the layers left in INT8, as a share of the goal, before a rung has shown how far
the few images that layers are measured on promise too much, and after. A rung costs more than a
layer. Of MobileNet V1 0.0195, 0.0160 and 0.0144 were promised, and it came to 0.0235, 0.0206 and
0.0188."""


@dataclass(frozen=True)
class Stand:
    """Where a climb stands: what the next rung builds on.

    Attributes:
        model: The float network, its channels equalised or not.
        statistics: Of the calibration images on it.
        ranges: What its activations are quantized over.
    """

    model: onnx.ModelProto
    statistics: Statistics
    ranges: Ranges


@dataclass(frozen=True)
class Rung:
    """One thing tried.

    Attributes:
        step: What it is.
        stand: What it was made from.
        made: The weights it was written with, corrected or not.
        graph: The quantized graph.
        found: What it came to on validation images.
        in_float: Convolutions and additions that stay in float.
        seconds: What it cost to make and to judge.
    """

    step: str
    stand: Stand
    made: Reconstructed
    graph: onnx.ModelProto
    found: Judgement
    in_float: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, without graphs and statistics."""
        return {
            "step": self.step,
            **asdict(self.found),
            "in_float": list(self.in_float),
            "seconds": round(self.seconds, 2),
        }


Measure = Callable[[onnx.ModelProto, str], Statistics]
"""Measures a graph on all calibration images; the text is for the progress bar."""


FineTune = Callable[[onnx.ModelProto], onnx.ModelProto]
"""Trains the weights of a quantized graph and returns a new one."""


class Climb:
    """One climb; ``rungs`` has all that was tried, in order.

    Args:
        plan: What it may do.
        measure: Measures a graph on the calibration images.
        pixels: uint8 (N, S, S), the first calibration images, to equalise and correct on.
        judge: Compares with FP32 on validation images.
        progress: Hears of images and layers done.
        fine_tune: The last resort; None where nothing can be trained.
    """

    def __init__(
        self,
        plan: Plan,
        measure: Measure,
        pixels: GreyImage,
        judge: Judge,
        progress: Progress,
        fine_tune: FineTune | None = None,
    ) -> None:
        self.rungs: list[Rung] = []
        self._fine_tune = fine_tune
        self._plan, self._measure, self._pixels = plan, measure, pixels
        self.judge, self._progress = judge, progress
        self._since = time.perf_counter()

    def best(self, model: onnx.ModelProto) -> Rung:
        """Climb, and return the rung to take: the first that meets the goal, or the best.

        Args:
            model: The FP32 model.
        """
        keep = self._plan.keep
        plain, method = self._with_best_ranges(model)
        stand = self._equalised(plain, method) if self._plan.equalise else plain
        if self._plan.correction is not Correction.NONE:
            worse = self.rungs[-1] is not self._best_so_far
            self._corrected_and_centred(stand)
            if stand is not plain and worse and not self._done:
                self._corrected_and_centred(plain, ", channels as they were")
        stand = self._best_so_far.stand
        for more in self._layers_to_keep():
            if self._done:
                break
            self._corrected(stand, keep | more)
        if self._fine_tune is not None and not self._done:
            best = self._best_so_far
            graph = self._fine_tune(best.graph)
            self._add("fine-tuned weights", best.stand, best.made, graph, frozenset(best.in_float))
        return self._best_so_far

    @property
    def _done(self) -> bool:
        return self._plan.goal.met(self._best_so_far.found)

    @property
    def _best_so_far(self) -> Rung:
        return min(self.rungs, key=lambda one: one.found.logit_error)

    def _with_best_ranges(self, model: onnx.ModelProto) -> tuple[Stand, RangeMethod]:
        statistics = self._measure(model, "Measuring activations")
        tried = []
        for method in self._plan.methods:
            ranges = statistics.ranges(method, self._plan.symmetric)
            stand = Stand(model, statistics, ranges)
            rung = self._emitted(f"{method.value} ranges", stand)
            tried.append((rung.found.logit_error, stand, method))
        _, stand, method = min(tried, key=lambda one: one[0])
        return stand, method

    def _equalised(self, stand: Stand, method: RangeMethod) -> Stand:
        """Return the equalised network, whether it is better as it is or not.

        It was the better start for corrections in all five cases compared of MobileNet V1 and V2,
        also in the four where it was the worse one before: V1's logits were off by 0.011 with it,
        by 0.014 without. ResNet50V2, hardly trained, was the other way round (0.041, 0.032).
        """
        with self._progress.task("Equalising channels", len(self._pixels)) as advance:
            equalised = equalise(stand.model, self._pixels, advance)
        statistics = self._measure(equalised, "Measuring equalised activations")
        ranges = statistics.ranges(method, self._plan.symmetric)
        return self._emitted("equalised channels", Stand(equalised, statistics, ranges)).stand

    def _corrected_and_centred(self, stand: Stand, note: str = "") -> None:
        """Correct a network, and if that is planned once more with clipped activations centred.

        What that buys shows once corrected only: around zero, what rounding changes the sums of
        weights by shifts whole channels until biases make up for it.
        """
        keep = self._plan.keep
        self._corrected(stand, keep, note)
        if not self._plan.centre or self._done:
            return
        centred = centre(stand.model, stand.ranges)
        if centred.moves:
            statistics = stand.statistics.moved(centred.moves)
            moved = Stand(centred.model, statistics, centred.ranges)
            self._corrected(moved, keep, f"{note}, activations centred")

    def _corrected(self, stand: Stand, keep: frozenset[str], note: str = "") -> None:
        few = self._pixels[: _CORRECTION_IMAGES[self._plan.effort]]
        correction = self._plan.correction
        made = Reconstructed(stand.model, {})
        if correction is not Correction.NONE:
            count = count_convolutions(stand.model)
            with self._progress.task("Correcting layers", count) as advance:
                made = reconstruct(
                    stand.model,
                    stand.ranges,
                    self._plan.dialect,
                    few,
                    advance,
                    keep,
                    weights=correction is Correction.WEIGHTS,
                )
        step = f"corrected {correction.value}{note}"
        convolutions = {n.name for n in stand.model.graph.node if n.op_type == "Conv"}
        if more := len(convolutions & (keep - self._plan.keep)):
            step = f"{more} sensitive layer{'s' if more > 1 else ''} in float"
        graph = emit(made.model, stand.ranges, self._plan.dialect, False, keep, made.scales)
        self._add(step, stand, made, graph, keep)

    def _layers_to_keep(self) -> Iterator[frozenset[str]]:
        """Yield more and more of the most sensitive layers, measured when first asked for.

        They are measured with the weights that are corrected, so that what is left of each layer
        counts: the rounding of what it takes. For a logit error of 0.02 in TensorRT's dialect on
        CXR B's validation images, MobileNet V1 keeps 3 of its 27 layers in float by that and V2 22
        of 52; by what they lose before it was 4 and 26.
        """
        rungs, goal = _FLOAT_RUNGS[self._plan.effort], self._plan.goal
        best = self._best_so_far
        groups = groups_of(best.stand.model, self._plan.keep)
        if not rungs or not groups or self._done:
            return
        order = self._sensitivities(best, groups)
        # With more than half in float, FP16 or FP32 is the plainer answer.
        most, count = max(1, len(order) // 2), 0
        error = best.found.logit_error
        for rung in range(rungs):
            reserve = _RESERVE if rung else _FIRST_RESERVE
            least = count + max(1, count // 4)
            needed = groups_needed(order, count, error, reserve * goal.max_logit_error)
            count = min(most, max(least, needed))
            yield frozenset(name for one in order[:count] for name in one.nodes)
            if count == most:
                return
            error = self.rungs[-1].found.logit_error

    def _sensitivities(self, rung: Rung, groups: Sequence[tuple[str, ...]]) -> list[Sensitivity]:
        few = self._pixels[:_SENSITIVITY_IMAGES]
        dialect, keep = self._plan.dialect, self._plan.keep
        with self._progress.task("Measuring sensitivity", len(groups)) as advance:
            return measure_sensitivities(
                rung.made, rung.stand.ranges, dialect, groups, few, advance, keep
            )

    def _emitted(self, step: str, stand: Stand) -> Rung:
        keep = self._plan.keep
        graph = emit(stand.model, stand.ranges, self._plan.dialect, keep=keep)
        return self._add(step, stand, Reconstructed(stand.model, {}), graph, keep)

    def _add(
        self,
        step: str,
        stand: Stand,
        made: Reconstructed,
        graph: onnx.ModelProto,
        keep: frozenset[str],
    ) -> Rung:
        require_legal(graph, self._plan.dialect)
        found = self.judge.judge(graph)
        now = time.perf_counter()
        rung = Rung(step, stand, made, graph, found, tuple(sorted(keep)), now - self._since)
        self._since = now
        self.rungs.append(rung)
        return rung
