"""Rules and scores of the MLPerf scenarios."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cxredge.bench.scenarios import RULES, HarnessRun, mlperf_shortfalls, score
from cxredge.results.bench import LoadGenReport
from cxredge.vocabulary import Scenario

STEADY = [2.0] * 900 + [4.0] * 100


def loadgen(**changes: Any) -> LoadGenReport:
    report = LoadGenReport(
        version="6.0.17",
        valid=True,
        invalid_reason="",
        queries=None,
        percentile_ms=None,
        early_stopping_ms=None,
        samples_per_second=None,
        min_duration_met=None,
        early_stopping_met=None,
    )
    return replace(report, **changes)


def test_samples_and_percentiles_are_those_of_mlperf() -> None:
    found = {s.value: (rules.samples, rules.percentile) for s, rules in RULES.items()}
    assert found == {"single-stream": (1, 90), "multi-stream": (8, 99), "offline": (16, None)}


@pytest.mark.parametrize(
    ("scenario", "percentile"), [(Scenario.SINGLE_STREAM, 90), (Scenario.MULTI_STREAM, 99)]
)
def test_stream_scenarios_are_scored_by_a_latency_percentile(
    scenario: Scenario, percentile: int
) -> None:
    latencies = [float(n) for n in range(1, 2001)]
    found = score(RULES[scenario], HarnessRun(latencies, 2000, 4.0))
    assert (found.metric, found.percentile) == ("latency_ms", percentile)
    assert found.value == pytest.approx(20 * percentile, rel=0.001)
    low, high = found.ci95
    assert low < found.value < high
    assert found.early_stopping_ms is not None
    assert found.early_stopping_ms > found.value


def test_offline_is_scored_by_throughput() -> None:
    found = score(RULES[Scenario.OFFLINE], HarnessRun([100.0] * 50, 800, 5.0))
    assert (found.metric, found.value, found.percentile) == ("samples_per_second", 160.0, None)
    assert found.ci95 == (160.0, 160.0)
    assert found.early_stopping_ms is None


def test_few_queries_have_no_early_stopping_estimate() -> None:
    found = score(RULES[Scenario.MULTI_STREAM], HarnessRun(STEADY[:600], 4800, 2.0))
    assert found.early_stopping_ms is None


def test_score_of_loadgen_is_preferred() -> None:
    reported = loadgen(percentile_ms=3.5, early_stopping_ms=3.75, samples_per_second=123.0)
    found = score(RULES[Scenario.SINGLE_STREAM], HarnessRun(STEADY, 1000, 2.2, reported))
    assert (found.value, found.early_stopping_ms) == (3.5, 3.75)
    assert score(RULES[Scenario.OFFLINE], HarnessRun(STEADY, 16, 2.2, reported)).value == 123.0


def test_shortfalls_of_an_mlperf_submission() -> None:
    short = HarnessRun(STEADY, 1000, 10.0)
    assert mlperf_shortfalls(Scenario.SINGLE_STREAM, short) == (
        "it took 10 s, not 600",
        "LoadGen did not send the queries",
    )
    offline = HarnessRun(STEADY, 1000, 700.0, loadgen(valid=False, invalid_reason="too short"))
    assert mlperf_shortfalls(Scenario.OFFLINE, offline) == (
        "it had 1000 samples, not 24576",
        "LoadGen reports it as invalid: too short",
    )
    whole = HarnessRun(STEADY, 30_000, 601.0, loadgen())
    assert all(mlperf_shortfalls(scenario, whole) == () for scenario in Scenario)
