"""The search: which steps are tried and when it stops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from cxredge.data.images import GreyImage
from cxredge.data.loading import load_pixels
from cxredge.data.manifest import Manifest
from cxredge.graph.nodes import copy_of
from cxredge.progress import Silent
from cxredge.quantization import search
from cxredge.quantization.config import Goal, QuantizationPlan
from cxredge.quantization.correction.reconstruction import CorrectedModel
from cxredge.quantization.float_layers import (
    Sensitivity,
    group_layers,
    groups_needed,
    measure_sensitivities,
)
from cxredge.quantization.fp32_comparison import StepEvaluator, logit_error
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.ranges.measure import measure
from cxredge.quantization.ranges.statistics import Statistics
from cxredge.quantization.search import QuantizationSearch, SearchStep
from cxredge.quantization.sessions import infer_graph
from cxredge.quantization.step_latency import time_steps
from cxredge.vocabulary import Correction, Dialect, Effort, JudgedOn, RangeMethod, Split

UNREACHABLE = Goal(min_agreement=1.0, max_logit_error=0.0)


@pytest.fixture(scope="module")
def graph(model: Path) -> onnx.ModelProto:
    return onnx.load(model / "model.onnx")


@pytest.fixture(scope="module")
def pixels(manifest: Manifest) -> GreyImage:
    return load_pixels(manifest.of(Split.TRAIN)[:24], 64)


@pytest.fixture(scope="module")
def run_search(
    graph: onnx.ModelProto, pixels: GreyImage, manifest: Manifest
) -> Callable[[QuantizationPlan], tuple[SearchStep, list[SearchStep]]]:
    entries = manifest.of(Split.VAL)
    unseen = load_pixels(entries, 64)
    reference = infer_graph(graph, unseen)
    labels = np.array([manifest.classes.index(entry.label) for entry in entries])
    evaluator = StepEvaluator(unseen, labels, reference, JudgedOn.VALIDATION)

    def measured(model: onnx.ModelProto, _: str) -> Statistics:
        return measure(model, [pixels], lambda _: None)

    def run(plan: QuantizationPlan) -> tuple[SearchStep, list[SearchStep]]:
        one = QuantizationSearch(plan, measured, pixels, evaluator, Silent())
        return one.run(graph), one.steps

    return run


def test_an_unreachable_goal_tries_every_step(run_search: Callable, graph: onnx.ModelProto) -> None:
    best, steps = run_search(QuantizationPlan(Dialect.TENSORRT, goal=UNREACHABLE))
    assert [step.name for step in steps] == [
        "minmax ranges",
        "percentile ranges",
        "mse ranges",
        "equalised channels",
        "corrected weights",
        "1 sensitive layer in float",
    ]
    assert best.metrics.logit_error == min(step.metrics.logit_error for step in steps)
    assert steps[-1].in_float in group_layers(graph), "one layer, with the addition that follows it"
    assert steps[-1].metrics.logit_error < steps[0].metrics.logit_error / 2


def test_a_goal_that_is_met_ends_the_search(run_search: Callable) -> None:
    best, steps = run_search(QuantizationPlan(Dialect.CPU, goal=Goal(0.0, 1.0)))
    assert steps[-1].name == "corrected weights"
    assert best.in_float == ()


def harmful(model: onnx.ModelProto, *_: object) -> onnx.ModelProto:
    """Replace equalisation by a change that is harmful before correction."""
    result = copy_of(model)
    (weight,) = (w for w in result.graph.initializer if w.name == weight_of(model, "pointwise"))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.1, weight.name))
    return result


@pytest.mark.parametrize("correction", [Correction.WEIGHTS, Correction.NONE])
def test_corrections_start_from_equalised_channels(
    run_search: Callable, monkeypatch: pytest.MonkeyPatch, correction: Correction
) -> None:
    monkeypatch.setattr(search, "equalise", harmful)
    best, steps = run_search(
        QuantizationPlan(Dialect.CPU, correction=correction, goal=Goal(0.0, 1.0))
    )
    *plain, equalised = (step for step in steps if "corrected" not in step.name)
    assert equalised.metrics.logit_error > min(step.metrics.logit_error for step in plain)
    if correction is Correction.NONE:
        assert best in plain
    else:
        assert steps[-1].source is equalised.source


def test_channels_that_equalisation_harmed_are_corrected_too_if_the_goal_is_missed(
    run_search: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "equalise", harmful)
    _, steps = run_search(QuantizationPlan(Dialect.CPU, Effort.QUICK, goal=UNREACHABLE))
    plain, _, one, other = steps
    assert one.name == "corrected weights"
    assert other.name == "corrected weights, channels as they were"
    assert other.source is plain.source
    assert len({step.name for step in steps}) == len(steps), "readers find a step by its name"


@pytest.mark.parametrize("centre", [True, False])
def test_centring_is_judged_after_correction(run_search: Callable, centre: bool) -> None:
    plan = QuantizationPlan(Dialect.TENSORRT, equalise=False, centre=centre, goal=UNREACHABLE)
    best, steps = run_search(plan)
    corrected = [step for step in steps if step.name.startswith("corrected")]
    names = ["corrected weights", "corrected weights, activations centred"]
    assert [step.name for step in corrected] == names[: 1 + centre]
    for step, around in zip(corrected, (False, True), strict=False):
        (low, high), found = step.source.ranges["r2"], step.source.statistics.histograms["r2"]
        assert (low > -high) == around
        assert (found.low < 0) == around, "histograms are centred as well"
        (clip,) = (node for node in step.graph.graph.node if node.name == "clip2")
        limits = {i.name: numpy_helper.to_array(i) for i in step.graph.graph.initializer}
        assert (limits[clip.input[1]] < 0) == around
    better = min(corrected, key=lambda step: step.metrics.logit_error)
    assert steps[-1].source is better.source, "later steps start from the better one"
    assert best.metrics.logit_error <= better.metrics.logit_error


def test_nothing_is_centred_once_the_goal_is_met(run_search: Callable) -> None:
    _, steps = run_search(QuantizationPlan(Dialect.TENSORRT, centre=True, goal=Goal(0.0, 1.0)))
    assert steps[-1].name == "corrected weights"


def test_each_pass_can_be_switched_off(run_search: Callable) -> None:
    plan = QuantizationPlan(
        Dialect.CPU, method=RangeMethod.ENTROPY, equalise=False, correction=Correction.NONE,
        goal=Goal(0.0, 1.0),
    )  # fmt: skip
    _, steps = run_search(plan)
    assert [step.name for step in steps] == ["entropy ranges"]


def test_quick_effort_keeps_no_sensitive_layer_in_float(run_search: Callable) -> None:
    plan = QuantizationPlan(
        Dialect.CPU, Effort.QUICK, equalise=False, correction=Correction.BIASES, goal=UNREACHABLE
    )
    _, steps = run_search(plan)
    assert [step.name for step in steps] == ["minmax ranges", "corrected biases"]


def test_layers_to_keep_stay_in_float_in_every_step(run_search: Callable) -> None:
    _, steps = run_search(
        QuantizationPlan(Dialect.TENSORRT, keep=frozenset({"conv1"}), goal=UNREACHABLE)
    )
    assert all("conv1" in step.in_float for step in steps)
    for step in steps:
        producers = {name: node.op_type for node in step.graph.graph.node for name in node.output}
        conv = next(node for node in step.graph.graph.node if node.name == "conv1")
        assert producers.get(conv.input[1]) is None


def test_fine_tuning_is_the_last_step(
    graph: onnx.ModelProto, pixels: GreyImage, manifest: Manifest
) -> None:
    entries = manifest.of(Split.VAL)
    unseen = load_pixels(entries, 64)
    labels = np.zeros(len(unseen), np.int64)
    evaluator = StepEvaluator(unseen, labels, infer_graph(graph, unseen), JudgedOn.VALIDATION)
    asked: list[onnx.ModelProto] = []

    def perfect(quantized: onnx.ModelProto) -> onnx.ModelProto:
        asked.append(quantized)
        return emit(graph, ranges, Dialect.TENSORRT, keep=names)

    def measured(model: onnx.ModelProto, _: str) -> Statistics:
        return measure(model, [pixels], lambda _: None)

    names = [node.name for node in graph.graph.node if node.op_type == "Conv"]
    ranges = measure(graph, [pixels], lambda _: None).min_max()
    for goal, wanted in ((UNREACHABLE, 1), (Goal(0.0, 1.0), 0)):
        asked.clear()
        plan = QuantizationPlan(Dialect.TENSORRT, Effort.QUICK, equalise=False, goal=goal)
        one = QuantizationSearch(
            plan,
            lambda m, _: measure(m, [pixels], lambda _: None),
            pixels,
            evaluator,
            Silent(),
            perfect,
        )
        best = one.run(graph)
        assert len(asked) == wanted
        assert (best.name == "fine-tuned weights") is bool(wanted)


def test_steps_are_timed_beside_fp32(run_search: Callable, model: Path, pixels: GreyImage) -> None:
    _, steps = run_search(QuantizationPlan(Dialect.CPU, Effort.QUICK, equalise=False))
    taken = time_steps(model / "model.onnx", [step.graph for step in steps], pixels[:1])
    assert len(taken) == len(steps) + 1
    assert all(0 < milliseconds < 1000 for milliseconds in taken)


def test_groups_are_ordered_by_sensitivity(graph: onnx.ModelProto, pixels: GreyImage) -> None:
    groups = group_layers(graph)
    assert groups == [("conv1",), ("depthwise",), ("pointwise", "residual")]
    assert group_layers(graph, max_groups=2) == [("conv1", "depthwise"), ("pointwise", "residual")]
    assert group_layers(graph, ["conv1"]) == groups[1:]
    ranges = measure(graph, [pixels], lambda _: None).ranges(RangeMethod.MINMAX, symmetric=True)
    done: list[int] = []

    def measured(groups: list[tuple[str, ...]], keep: tuple[str, ...] = ()) -> dict[str, float]:
        found = measure_sensitivities(
            CorrectedModel(graph, {}), ranges, Dialect.TENSORRT, groups, pixels, done.append, keep
        )
        noises = [one.noise for one in found]
        assert noises == sorted(noises, reverse=True)
        return {one.nodes[0]: one.noise for one in found}

    every = measured(groups)
    assert min(every.values()) > 0
    assert len(done) == 3
    # Layers that always stay in float do not change the sensitivity of the others.
    others = measured(groups[1:], groups[0])
    assert others == pytest.approx({name: every[name] for name in others})


def test_sensitivity_is_measured_with_corrected_weights(
    run_search: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[CorrectedModel] = []

    def note(made: CorrectedModel, *arguments: object) -> list[Sensitivity]:
        measured.append(made)
        return measure_sensitivities(made, *arguments)

    monkeypatch.setattr(search, "measure_sensitivities", note)
    _, steps = run_search(QuantizationPlan(Dialect.TENSORRT, goal=UNREACHABLE))
    (made,) = measured
    (corrected,) = (step for step in steps if step.name == "corrected weights")
    assert made is corrected.corrected
    assert made.scales


def test_errors_of_layers_add_up_as_squares() -> None:
    order = [Sensitivity((name,), noise) for name, noise in (("a", 12.0), ("b", 4.0), ("c", 3.0))]
    assert groups_needed(order, 0, 13.0, 13.0) == 0
    assert groups_needed(order, 0, 13.0, 5.0) == 1
    assert groups_needed(order, 0, 13.0, 4.9) == 2
    assert groups_needed(order, 0, 13.0, 0.0) == 3


def test_the_measured_error_decides_how_much_the_next_step_needs() -> None:
    order = [Sensitivity((name,), noise) for name, noise in (("a", 12.0), ("b", 4.0), ("c", 3.0))]
    assert groups_needed(order, 1, 6.0, 5.0) == 2
    assert groups_needed(order, 1, 6.0, 3.0) == 3
    assert groups_needed(order, 3, 6.0, 3.0) == 3


def test_no_layer_is_left_to_try_if_all_are_in_float(run_search: Callable) -> None:
    every = frozenset({"conv1", "depthwise", "pointwise"})
    _, steps = run_search(
        QuantizationPlan(Dialect.CPU, equalise=False, keep=every, goal=UNREACHABLE)
    )
    assert steps[-1].name == "corrected weights"


@pytest.mark.parametrize(("aim", "tried"), [(0.0, 1), (1.0, 0)])
def test_only_steps_that_may_suffice_are_tried(
    run_search: Callable, aim: float, tried: int
) -> None:
    plan = QuantizationPlan(Dialect.TENSORRT, equalise=False, goal=Goal(0.0, aim))
    _, steps = run_search(plan)
    assert sum(bool(step.in_float) for step in steps) == tried


def test_layers_in_float_are_computed_in_float(graph: onnx.ModelProto, pixels: GreyImage) -> None:
    """ONNX Runtime would quantize them, with one scale for a whole weight."""
    spread = copy_of(graph)
    (weight,) = (w for w in spread.graph.initializer if w.name == weight_of(graph, "pointwise"))
    values = numpy_helper.to_array(weight)
    factors = np.geomspace(1e-3, 1, len(values), dtype=np.float32).reshape(-1, 1, 1, 1)
    weight.CopyFrom(numpy_helper.from_array(values * factors, weight.name))
    ranges = measure(spread, [pixels], lambda _: None).ranges(RangeMethod.MINMAX, symmetric=False)
    emitted = emit(spread, ranges, Dialect.CPU, keep=["pointwise"])
    plain = ort.SessionOptions()
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(emitted.SerializeToString(), plain, ["CPUExecutionProvider"])
    (expected,) = session.run(None, {"image": pixels[:, None]})
    # The rounding of a fused kernel may change an activation by one quantization step.
    assert logit_error(expected, infer_graph(emitted, pixels)) < 0.01


def weight_of(graph: onnx.ModelProto, name: str) -> str:
    (found,) = (node.input[1] for node in graph.graph.node if node.name == name)
    return str(found)
