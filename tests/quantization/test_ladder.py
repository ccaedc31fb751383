"""The ladder: which rungs are tried, when it stops, and that every image of the network counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from cxredge.data.images import GreyImage
from cxredge.data.manifest import Manifest, load_pixels
from cxredge.progress import Silent
from cxredge.quantization.judge import Judge, infer_graph
from cxredge.quantization.ladder import Climb, Goal, Plan, Rung
from cxredge.quantization.qdq import emit
from cxredge.quantization.ranges import measure
from cxredge.quantization.rung_latency import time_rungs
from cxredge.quantization.sensitivity import groups_of, measure_sensitivities
from cxredge.quantization.statistics import Statistics
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


def test_a_goal_out_of_reach_climbs_to_the_end(climb: Callable) -> None:
    best, rungs = climb(Plan(Dialect.TENSORRT, goal=OUT_OF_REACH))
    assert [rung.step for rung in rungs] == [
        "minmax ranges",
        "percentile ranges",
        "mse ranges",
        "equalised channels",
        "corrected weights",
        "1 sensitive layer in float",
        "2 sensitive layers in float",
        "3 sensitive layers in float",
    ]
    assert best.found.logit_error == min(rung.found.logit_error for rung in rungs)
    assert len(rungs[-1].in_float) == 3
    # With every convolution in float, only the residual addition still rounds.
    assert rungs[-1].found.logit_error < rungs[0].found.logit_error / 5


def test_a_goal_that_is_met_ends_the_climb(climb: Callable) -> None:
    best, rungs = climb(Plan(Dialect.CPU, goal=Goal(0.0, 1.0)))
    assert rungs[-1].step == "corrected weights"
    assert best.in_float == ()


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
    assert groups == [("conv1",), ("depthwise",), ("pointwise",)]
    assert groups_of(graph, 2) == [("conv1", "depthwise"), ("pointwise",)]
    ranges = measure(graph, [pixels], lambda _: None).ranges(RangeMethod.MINMAX, symmetric=True)
    done: list[int] = []
    found = measure_sensitivities(graph, ranges, Dialect.TENSORRT, groups, pixels, done.append)
    errors = [one.logit_error for one in found]
    assert errors == sorted(errors, reverse=True)
    assert min(errors) > 0
    assert len(done) == 3
