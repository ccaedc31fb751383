"""MLPerf Inference's scenarios: the size of a query, and the metric that counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cxredge.metrics.latency import block_interval, early_stopping
from cxredge.results.bench import LoadGenReport, Score
from cxredge.results.evaluation import Interval
from cxredge.vocabulary import Scenario

MLPERF_SECONDS = 600.0
MLPERF_OFFLINE_SAMPLES = 24_576


@dataclass(frozen=True)
class ScenarioRules:
    """Requirements of a scenario.

    Attributes:
        samples: Images per query; in offline, which is one endless query, images per batch.
        percentile: Percentile of the latency that counts; None where throughput counts.
        queries: Minimum number of queries (offline: batches) for comparable metrics.
    """

    samples: int
    percentile: int | None
    queries: int


RULES: Mapping[Scenario, ScenarioRules] = {
    Scenario.SINGLE_STREAM: ScenarioRules(samples=1, percentile=90, queries=1000),
    Scenario.MULTI_STREAM: ScenarioRules(samples=8, percentile=99, queries=1000),
    Scenario.OFFLINE: ScenarioRules(samples=16, percentile=None, queries=100),
}
"""MLPerf's images per query and percentiles; a 99th percentile needs 1000 queries."""


@dataclass(frozen=True)
class HarnessRun:
    """Queries that a harness sent.

    Attributes:
        queries_ms: Latency of each query in order; in offline, time between finished batches.
        samples: Number of images.
        seconds: Wall time of all queries.
        loadgen: LoadGen's own report; None for the built-in harness.
    """

    queries_ms: list[float]
    samples: int
    seconds: float
    loadgen: LoadGenReport | None = None


def score(rules: ScenarioRules, run: HarnessRun) -> Score:
    """Return the metric that counts in a scenario.

    LoadGen's own value is preferred; the interval is a block bootstrap of the timed queries.
    """
    report, percentile, taken = run.loadgen, rules.percentile, run.queries_ms
    if percentile is None:
        reported = report.samples_per_second if report else None
        throughput = reported or run.samples / run.seconds
        interval = block_interval(taken, lambda values: 1000 * rules.samples / float(values.mean()))
        return Score(
            metric="samples_per_second",
            percentile=None,
            value=round(throughput, 4),
            ci95=_rounded(interval),
            early_stopping_ms=None,
        )
    reported = report.percentile_ms if report else None
    latency = reported or float(np.percentile(taken, percentile))
    interval = block_interval(taken, lambda values: float(np.percentile(values, percentile)))
    estimate = report.early_stopping_ms if report else None
    estimate = estimate or early_stopping(taken, percentile / 100)
    return Score(
        metric="latency_ms",
        percentile=percentile,
        value=round(latency, 4),
        ci95=_rounded(interval),
        early_stopping_ms=None if estimate is None else round(estimate, 4),
    )


def mlperf_shortfalls(scenario: Scenario, run: HarnessRun) -> tuple[str, ...]:
    """Return the differences from the requirements of an MLPerf submission.

    Images and network are not MLPerf's either; that is not repeated here.
    """
    found = []
    if run.seconds < MLPERF_SECONDS:
        found.append(f"it took {run.seconds:.0f} s, not {MLPERF_SECONDS:.0f}")
    if scenario is Scenario.OFFLINE and run.samples < MLPERF_OFFLINE_SAMPLES:
        found.append(f"it had {run.samples} samples, not {MLPERF_OFFLINE_SAMPLES}")
    if run.loadgen is None:
        found.append("LoadGen did not send the queries")
    elif not run.loadgen.valid:
        found.append(f"LoadGen reports it as invalid: {run.loadgen.invalid_reason}")
    return tuple(found)


def _rounded(interval: Interval) -> Interval:
    return (round(interval[0], 4), round(interval[1], 4))
