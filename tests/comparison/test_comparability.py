"""Reasons against comparing measured latencies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cxredge.comparison.comparability import ASPECTS, comparable, judge
from cxredge.results.bench import BenchResult, BoardStates, Comparability, QueryCount, States
from cxredge.telemetry.jetson import Clock, JetsonState, PowerMode
from cxredge.telemetry.sampling import Range
from cxredge.vocabulary import Precision, Scenario
from tests.results.sample_results import BOARD, CALM, SAMPLES, SERVER, bench, latency


def board(mode: str = "15W", gpu_mhz: float = 624.0) -> BoardStates:
    clock = Clock("17000000.gpu", gpu_mhz, gpu_mhz, gpu_mhz, True)
    state = JetsonState(PowerMode(mode, 0), clock, (), None, {}, {})
    return BoardStates(before=state, after=state)


def result(**changes: Any) -> BenchResult:
    return bench(1, **{"machine": BOARD, "jetson": board(), **changes})


def states(after: dict[str, Any] | None = None, **before: Any) -> States:
    calm = replace(CALM, **before)
    return States(before=calm, during=SAMPLES, after=replace(calm, **(after or {})))


def test_an_undisturbed_run_of_enough_queries_is_comparable() -> None:
    assert judge(result()) == Comparability(comparable=True, reasons=())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"latency_ms": latency(1, count=20)}, "20 queries; a 99th percentile needs 1000"),
        ({"latency_ms": latency(1, cv=0.3)}, "varies by 30%"),
        ({"drift": 1.2}, "second half ran 1.20 times"),
        ({"drift": 0.8}, "second half ran 0.80 times"),
        ({"state": states(governor=None)}, "governor cannot be read"),
        ({"state": states(governor="powersave")}, "'powersave', not 'performance'"),
        ({"state": states(load_1min=3.0)}, "load 3.00 on 6 cores"),
        ({"state": states({"steal_ticks": 9})}, "hypervisor"),
        ({"state": states({"throttle_count": 1})}, "throttled"),
        ({"state": states(temperature_c=None)}, "temperature cannot be read"),
    ],
)
def test_each_reason(changes: dict[str, Any], words: str) -> None:
    verdict = judge(result(**changes))
    assert not verdict.comparable
    (reason,) = verdict.reasons
    assert words in reason


def test_few_batches_in_offline() -> None:
    score = replace(result().score, percentile=None)
    queries = QueryCount(count=20, needed=100, samples=320)
    verdict = judge(result(latency_ms=latency(1, count=20), score=score, queries=queries))
    assert verdict.reasons == ("20 queries; a throughput needs 100",)


@pytest.mark.parametrize("key", ["steal_ticks", "throttle_count", "load_1min"])
def test_unreadable_values_that_are_not_a_reason(key: str) -> None:
    assert judge(result(state=states(**{key: None}))).comparable


def test_few_queries_without_a_drift_are_judged() -> None:
    assert judge(result(drift=None)).comparable


def test_reasons_known_already_come_first() -> None:
    assert judge(result(drift=2.0), ["the board throttled"]).reasons[0] == "the board throttled"


def test_precision_and_network_may_differ() -> None:
    assert comparable(result(), result(precision=Precision.FP32, network="vgg19")).comparable


DIFFERENT: dict[str, dict[str, Any]] = {
    "scenario": {"scenario": Scenario.OFFLINE},
    "timed": {"timed": ("read", "decode")},
    "samples_per_query": {"samples_per_query": 8},
    "preprocessing": {"preprocessing": "grey-square/1"},
    "input_size": {"input_size": 299},
    "harness": {"harness": "loadgen"},
    "machine": {"machine": SERVER},
    "target": {"target": "cpu-x86"},
    "threads": {"threads": 2},
    "governor": {"state": states(governor="schedutil")},
    "power_mode": {"jetson": board(mode="7W")},
    "gpu_clock": {"jetson": board(gpu_mhz=306.0)},
    "clock": {
        "state": replace(
            states(), during=replace(SAMPLES, frequency_mhz=Range(1200.0, 1200.0, 1200.0))
        )
    },
}


@pytest.mark.parametrize("aspect", [*ASPECTS, "clock"])
def test_each_difference_is_a_reason_unless_it_is_allowed(aspect: str) -> None:
    other = result(**DIFFERENT[aspect])
    for pair in ((result(), other), (other, result())):
        (reason,) = comparable(*pair).reasons
        assert " and " in reason
        assert comparable(*pair, across=[aspect]).comparable


def test_a_difference_names_both_values() -> None:
    (reason,) = comparable(result(), result(**DIFFERENT["machine"])).reasons
    assert reason == "the machines differ: Cortex-A78AE 6 and AMD EPYC 2"
    without = result(jetson=None)
    reasons = comparable(result(), without).reasons
    assert reasons[0] == "the power modes differ: 15W and unknown"


def test_reasons_of_both_results_count() -> None:
    doubtful = result(verdict=Comparability.given(["it was hot"]))
    assert comparable(doubtful, result()).reasons == ("the first: it was hot",)
    assert comparable(result(), doubtful, across=ASPECTS).reasons == ("the second: it was hot",)


def test_unreadable_clocks_are_not_a_difference() -> None:
    blind = result(state=replace(states(), during=replace(SAMPLES, frequency_mhz=None)))
    assert comparable(blind, result()).comparable
