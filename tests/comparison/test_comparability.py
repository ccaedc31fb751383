from typing import Any

import pytest

from cxredge.comparison.comparability import ASPECTS, comparable, judge

CALM = {
    "governor": "performance",
    "load_1min": 0.1,
    "steal_ticks": 5,
    "throttle_count": 0,
    "temperature_c": 50.0,
}


def result(**changes: Any) -> dict[str, Any]:
    return {
        "scenario": "single-stream",
        "timed": ["compute", "post"],
        "samples_per_query": 1,
        "preprocessing": "grey-square/2",
        "input_size": 224,
        "harness": "builtin",
        "machine": {"cpu": "Cortex-A78AE", "cores": 6},
        "target": "jetson-orin-nano",
        "threads": 1,
        "precision": "int8",
        "latency_ms": {"count": 2000, "cv": 0.02},
        "score": {"percentile": 90},
        "queries": {"needed": 1000},
        "drift": 1.0,
        "state": {"before": CALM, "during": {"frequency_mhz": {"mean": 1500.0}}, "after": CALM},
        "jetson": {
            "before": {"power_mode": {"name": "15W"}, "gpu_clock": {"current_mhz": 624.0}},
        },
        "verdict": {"comparable": True, "reasons": []},
        **changes,
    }


def state(after: dict[str, Any] | None = None, **before: Any) -> dict[str, Any]:
    return {"before": {**CALM, **before}, "after": {**CALM, **before, **(after or {})}}


def test_a_calm_run_of_enough_queries_may_be_compared() -> None:
    assert judge(result()).to_json() == {"comparable": True, "reasons": []}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"latency_ms": {"count": 20, "cv": 0.0}}, "20 queries; a 99th percentile needs 1000"),
        (
            {"latency_ms": {"count": 20, "cv": 0.0}, "score": {"percentile": None}},
            "20 queries; a throughput needs 1000",
        ),
        ({"latency_ms": {"count": 2000, "cv": 0.3}}, "varies by 30%"),
        ({"drift": 1.2}, "second half ran 1.20 times"),
        ({"drift": 0.8}, "second half ran 0.80 times"),
        ({"state": state(governor=None)}, "governor cannot be read"),
        ({"state": state(governor="powersave")}, "'powersave', not 'performance'"),
        ({"state": state(load_1min=3.0)}, "load 3.00 on 6 cores"),
        ({"state": state({"steal_ticks": 9})}, "hypervisor"),
        ({"state": state({"throttle_count": 1})}, "slowed itself down"),
        ({"state": state(temperature_c=None)}, "temperature cannot be read"),
    ],
)
def test_each_doubt(changes: dict[str, Any], words: str) -> None:
    verdict = judge(result(**changes))
    assert not verdict.comparable
    (reason,) = verdict.reasons
    assert words in reason


@pytest.mark.parametrize("key", ["steal_ticks", "throttle_count", "load_1min"])
def test_what_cannot_be_read_is_no_doubt_of_these(key: str) -> None:
    assert judge(result(state=state(**{key: None}))).comparable


def test_few_queries_without_a_drift_are_judged() -> None:
    assert judge(result(drift=None)).comparable


def test_reasons_found_elsewhere_come_first() -> None:
    assert judge(result(drift=2.0), ["the board throttled"]).reasons[0] == "the board throttled"


def test_like_results_may_be_compared_whatever_precision() -> None:
    assert comparable(result(), result(precision="fp32", network="vgg19")).comparable


DIFFERENT: dict[str, dict[str, Any]] = {
    "scenario": {"scenario": "offline"},
    "timed": {"timed": ["read", "decode"]},
    "samples_per_query": {"samples_per_query": 8},
    "preprocessing": {"preprocessing": "grey-square/1"},
    "input_size": {"input_size": 299},
    "harness": {"harness": "loadgen"},
    "machine": {"machine": {"cpu": "AMD EPYC", "cores": 2}},
    "target": {"target": "cpu-x86"},
    "threads": {"threads": 2},
    "governor": {"state": {**result()["state"], "before": {**CALM, "governor": "schedutil"}}},
    "power_mode": {
        "jetson": {
            "before": {"power_mode": {"name": "7W"}, "gpu_clock": {"current_mhz": 624.0}},
        }
    },
    "gpu_clock": {
        "jetson": {
            "before": {"power_mode": {"name": "15W"}, "gpu_clock": {"current_mhz": 306.0}},
        }
    },
    "clock": {"state": {**result()["state"], "during": {"frequency_mhz": {"mean": 1200.0}}}},
}


@pytest.mark.parametrize("aspect", [*ASPECTS, "clock"])
def test_each_difference_is_said_unless_it_is_meant(aspect: str) -> None:
    other = result(**DIFFERENT[aspect])
    for pair in ((result(), other), (other, result())):
        (reason,) = comparable(*pair).reasons
        assert " and " in reason
        assert comparable(*pair, across=[aspect]).comparable


def test_a_difference_names_both_sides() -> None:
    (reason,) = comparable(result(), result(**DIFFERENT["machine"])).reasons
    assert reason == "the machines differ: Cortex-A78AE 6 and AMD EPYC 2"
    without = result()
    del without["preprocessing"]
    (reason,) = comparable(result(), without).reasons
    assert reason == "the preprocessing differs: grey-square/2 and unknown"


def test_the_doubts_of_both_count() -> None:
    doubtful = result(verdict={"comparable": False, "reasons": ["it was hot"]})
    assert comparable(doubtful, result()).reasons == ("the first: it was hot",)
    assert comparable(result(), doubtful, across=ASPECTS).reasons == ("the second: it was hot",)


def test_clocks_nobody_could_read_are_no_difference() -> None:
    blind = result(state={**result()["state"], "during": {"frequency_mhz": None}})
    assert comparable(blind, result()).comparable
