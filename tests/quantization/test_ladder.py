"""The ladder: which rungs are tried, when it stops, and that every image of the network counts."""

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
from cxredge.quantization import ladder
from cxredge.quantization.correction.reconstruction import Reconstructed
from cxredge.quantization.judge import Judge, infer_graph, logit_error
from cxredge.quantization.ladder import Climb, Rung
from cxredge.quantization.plan import Goal, Plan
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.ranges.measure import measure
from cxredge.quantization.ranges.statistics import Statistics
from cxredge.quantization.rung_latency import time_rungs
from cxredge.quantization.sensitivity import (
    Sensitivity,
    groups_needed,
    groups_of,
    measure_sensitivities,
)
from cxredge.vocabulary import Correction, Dialect, Effort, JudgedOn, RangeMethod, Split

OUT_OF_REACH = Goal(min_agreement=1.0, max_logit_error=0.0)


@pytest.fixture(scope="module")
def graph(model: Path) -> onnx.ModelProto:
    return onnx.load(model / "model.onnx")


@pytest.fixture(scope="module")
def pixels(manifest: Manifest) -> GreyImage:
    return load_pixels(manifest.of(Split.TRAIN)[:24], 64)


@pytest.fixture(scope="module")
def climb(
    graph: onnx.ModelProto, pixels: GreyImage, manifest: Manifest
) -> Callable[[Plan], tuple[Rung, list[Rung]]]:
    entries = manifest.of(Split.VAL)
    unseen = load_pixels(entries, 64)
    reference = infer_graph(graph, unseen)
    labels = np.array([manifest.classes.index(entry.label) for entry in entries])
    judge = Judge(unseen, labels, reference, JudgedOn.VALIDATION)

    def measured(model: onnx.ModelProto, _: str) -> Statistics:
        return measure(model, [pixels], lambda _: None)

    def go(plan: Plan) -> tuple[Rung, list[Rung]]:
        one = Climb(plan, measured, pixels, judge, Silent())
        return one.best(graph), one.rungs

    return go


def test_a_goal_out_of_reach_climbs_to_the_end(climb: Callable, graph: onnx.ModelProto) -> None:
    best, rungs = climb(Plan(Dialect.TENSORRT, goal=OUT_OF_REACH))
    assert [rung.step for rung in rungs] == [
        "minmax ranges",
        "percentile ranges",
        "mse ranges",
        "equalised channels",
        "corrected weights",
        "1 sensitive layer in float",
    ]
    assert best.found.logit_error == min(rung.found.logit_error for rung in rungs)
    assert rungs[-1].in_float in groups_of(graph), "one layer, with the addition that follows it"
    assert rungs[-1].found.logit_error < rungs[0].found.logit_error / 2


def test_a_goal_that_is_met_ends_the_climb(climb: Callable) -> None:
    best, rungs = climb(Plan(Dialect.CPU, goal=Goal(0.0, 1.0)))
    assert rungs[-1].step == "corrected weights"
    assert best.in_float == ()


def harmful(model: onnx.ModelProto, *_: object) -> onnx.ModelProto:
    """Stand in for an equalisation that does harm as long as nothing is corrected."""
    result = copy_of(model)
    (weight,) = (w for w in result.graph.initializer if w.name == weight_of(model, "pointwise"))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.1, weight.name))
    return result


@pytest.mark.parametrize("correction", [Correction.WEIGHTS, Correction.NONE])
def test_equalised_channels_are_what_is_corrected(
    climb: Callable, monkeypatch: pytest.MonkeyPatch, correction: Correction
) -> None:
    monkeypatch.setattr(ladder, "equalise", harmful)
    best, rungs = climb(Plan(Dialect.CPU, correction=correction, goal=Goal(0.0, 1.0)))
    *plain, equalised = (rung for rung in rungs if "corrected" not in rung.step)
    assert equalised.found.logit_error > min(rung.found.logit_error for rung in plain)
    if correction is Correction.NONE:
        assert best in plain
    else:
        assert rungs[-1].stand is equalised.stand


def test_channels_better_as_they_were_are_corrected_too_where_the_goal_is_missed(
    climb: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder, "equalise", harmful)
    _, rungs = climb(Plan(Dialect.CPU, Effort.QUICK, goal=OUT_OF_REACH))
    plain, _, one, other = rungs
    assert one.step == "corrected weights"
    assert other.step == "corrected weights, channels as they were"
    assert other.stand is plain.stand
    assert len({rung.step for rung in rungs}) == len(rungs), "readers find a rung by its step"


@pytest.mark.parametrize("centre", [True, False])
def test_what_centring_buys_shows_once_corrected(climb: Callable, centre: bool) -> None:
    plan = Plan(Dialect.TENSORRT, equalise=False, centre=centre, goal=OUT_OF_REACH)
    best, rungs = climb(plan)
    corrected = [rung for rung in rungs if rung.step.startswith("corrected")]
    steps = ["corrected weights", "corrected weights, activations centred"]
    assert [rung.step for rung in corrected] == steps[: 1 + centre]
    for rung, around in zip(corrected, (False, True), strict=False):
        (low, high), found = rung.stand.ranges["r2"], rung.stand.statistics.histograms["r2"]
        assert (low > -high) == around
        assert (found.low < 0) == around, "what is shown beside the range"
        (clip,) = (node for node in rung.graph.graph.node if node.name == "clip2")
        limits = {i.name: numpy_helper.to_array(i) for i in rung.graph.graph.initializer}
        assert (limits[clip.input[1]] < 0) == around
    better = min(corrected, key=lambda rung: rung.found.logit_error)
    assert rungs[-1].stand is better.stand, "layers in float build on the better one"
    assert best.found.logit_error <= better.found.logit_error


def test_nothing_is_centred_once_the_goal_is_met(climb: Callable) -> None:
    _, rungs = climb(Plan(Dialect.TENSORRT, centre=True, goal=Goal(0.0, 1.0)))
    assert rungs[-1].step == "corrected weights"


def test_each_pass_can_be_switched_off(climb: Callable) -> None:
    plan = Plan(
        Dialect.CPU, method=RangeMethod.ENTROPY, equalise=False, correction=Correction.NONE,
        goal=Goal(0.0, 1.0),
    )  # fmt: skip
    _, rungs = climb(plan)
    assert [rung.step for rung in rungs] == ["entropy ranges"]


def test_quick_buys_nothing_with_speed(climb: Callable) -> None:
    plan = Plan(
        Dialect.CPU, Effort.QUICK, equalise=False, correction=Correction.BIASES, goal=OUT_OF_REACH
    )
    _, rungs = climb(plan)
    assert [rung.step for rung in rungs] == ["minmax ranges", "corrected biases"]


def test_layers_to_keep_stay_in_float_on_every_rung(climb: Callable) -> None:
    _, rungs = climb(Plan(Dialect.TENSORRT, keep=frozenset({"conv1"}), goal=OUT_OF_REACH))
    assert all("conv1" in rung.in_float for rung in rungs)
    for rung in rungs:
        producers = {name: node.op_type for node in rung.graph.graph.node for name in node.output}
        conv = next(node for node in rung.graph.graph.node if node.name == "conv1")
        assert producers.get(conv.input[1]) is None


def test_fine_tuning_is_the_last_resort(
    graph: onnx.ModelProto, pixels: GreyImage, manifest: Manifest
) -> None:
    entries = manifest.of(Split.VAL)
    unseen = load_pixels(entries, 64)
    labels = np.zeros(len(unseen), np.int64)
    judge = Judge(unseen, labels, infer_graph(graph, unseen), JudgedOn.VALIDATION)
    asked: list[onnx.ModelProto] = []

    def perfect(quantized: onnx.ModelProto) -> onnx.ModelProto:
        asked.append(quantized)
        return emit(graph, ranges, Dialect.TENSORRT, keep=names)

    def measured(model: onnx.ModelProto, _: str) -> Statistics:
        return measure(model, [pixels], lambda _: None)

    names = [node.name for node in graph.graph.node if node.op_type == "Conv"]
    ranges = measure(graph, [pixels], lambda _: None).measured()
    for goal, wanted in ((OUT_OF_REACH, 1), (Goal(0.0, 1.0), 0)):
        asked.clear()
        plan = Plan(Dialect.TENSORRT, Effort.QUICK, equalise=False, goal=goal)
        climb = Climb(
            plan,
            lambda m, _: measure(m, [pixels], lambda _: None),
            pixels,
            judge,
            Silent(),
            perfect,
        )
        best = climb.best(graph)
        assert len(asked) == wanted
        assert (best.step == "fine-tuned weights") is bool(wanted)


def test_rungs_are_timed_beside_fp32(climb: Callable, model: Path, pixels: GreyImage) -> None:
    _, rungs = climb(Plan(Dialect.CPU, Effort.QUICK, equalise=False))
    taken = time_rungs(model / "model.onnx", rungs, pixels[:1])
    assert len(taken) == len(rungs) + 1
    assert all(0 < milliseconds < 1000 for milliseconds in taken)


def test_sensitivity_orders_groups_by_what_they_cost(
    graph: onnx.ModelProto, pixels: GreyImage
) -> None:
    groups = groups_of(graph)
    assert groups == [("conv1",), ("depthwise",), ("pointwise", "residual")]
    assert groups_of(graph, most=2) == [("conv1", "depthwise"), ("pointwise", "residual")]
    assert groups_of(graph, ["conv1"]) == groups[1:]
    ranges = measure(graph, [pixels], lambda _: None).ranges(RangeMethod.MINMAX, symmetric=True)
    done: list[int] = []

    def measured(groups: list[tuple[str, ...]], keep: tuple[str, ...] = ()) -> dict[str, float]:
        found = measure_sensitivities(
            Reconstructed(graph, {}), ranges, Dialect.TENSORRT, groups, pixels, done.append, keep
        )
        noises = [one.noise for one in found]
        assert noises == sorted(noises, reverse=True)
        return {one.nodes[0]: one.noise for one in found}

    every = measured(groups)
    assert min(every.values()) > 0
    assert len(done) == 3
    # What stays in float whatever is measured adds nothing to what the others cost.
    others = measured(groups[1:], groups[0])
    assert others == pytest.approx({name: every[name] for name in others})


def test_layers_are_measured_with_the_weights_that_are_corrected(
    climb: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Reconstructed] = []

    def note(made: Reconstructed, *arguments: object) -> list[Sensitivity]:
        measured.append(made)
        return measure_sensitivities(made, *arguments)

    monkeypatch.setattr(ladder, "measure_sensitivities", note)
    _, rungs = climb(Plan(Dialect.TENSORRT, goal=OUT_OF_REACH))
    (made,) = measured
    (corrected,) = (rung for rung in rungs if rung.step == "corrected weights")
    assert made is corrected.made
    assert made.scales


def test_errors_of_layers_add_up_as_squares() -> None:
    order = [Sensitivity((name,), noise) for name, noise in (("a", 12.0), ("b", 4.0), ("c", 3.0))]
    assert groups_needed(order, 0, 13.0, 13.0) == 0
    assert groups_needed(order, 0, 13.0, 5.0) == 1
    assert groups_needed(order, 0, 13.0, 4.9) == 2
    assert groups_needed(order, 0, 13.0, 0.0) == 3


def test_what_a_rung_came_to_tells_how_much_the_next_one_needs() -> None:
    order = [Sensitivity((name,), noise) for name, noise in (("a", 12.0), ("b", 4.0), ("c", 3.0))]
    assert groups_needed(order, 1, 6.0, 5.0) == 2
    assert groups_needed(order, 1, 6.0, 3.0) == 3
    assert groups_needed(order, 3, 6.0, 3.0) == 3


def test_where_all_is_in_float_already_no_layer_is_left_to_try(climb: Callable) -> None:
    every = frozenset({"conv1", "depthwise", "pointwise"})
    _, rungs = climb(Plan(Dialect.CPU, equalise=False, keep=every, goal=OUT_OF_REACH))
    assert rungs[-1].step == "corrected weights"


@pytest.mark.parametrize(("aim", "tried"), [(0.0, [1]), (1.0, [])])
def test_only_rungs_that_may_be_enough_are_climbed(
    climb: Callable, aim: float, tried: list[int]
) -> None:
    plan = Plan(Dialect.TENSORRT, equalise=False, goal=Goal(0.0, aim))
    _, rungs = climb(plan)
    assert [len(rung.in_float) for rung in rungs if rung.in_float] == tried


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
    # A step of an activation more or less is what a fused kernel's rounding may come to.
    assert logit_error(expected, infer_graph(emitted, pixels)) < 0.01


def weight_of(graph: onnx.ModelProto, name: str) -> str:
    (found,) = (node.input[1] for node in graph.graph.node if node.name == name)
    return str(found)
