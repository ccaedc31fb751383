"""MLPerf Inference's scenarios: what a query is, and which figure counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxredge.metrics.latency import block_interval, early_stopping
from cxredge.vocabulary import Scenario

MLPERF_SECONDS = 600.0
MLPERF_OFFLINE_SAMPLES = 24_576


@dataclass(frozen=True)
class Rules:
    """What a scenario asks for.

    Attributes:
        samples: Images a query; in offline, which is one endless query, images a batch.
        percentile: The percentile of the latency that counts; None where throughput does.
        queries: Least number of queries (offline: batches) for figures worth comparing.
    """

    samples: int
    percentile: int | None
    queries: int


RULES: Mapping[Scenario, Rules] = {
    Scenario.SINGLE_STREAM: Rules(samples=1, percentile=90, queries=1000),
    Scenario.MULTI_STREAM: Rules(samples=8, percentile=99, queries=1000),
    Scenario.OFFLINE: Rules(samples=16, percentile=None, queries=100),
}
"""MLPerf's images a query and percentiles; 1000 queries show a 99th percentile."""


@dataclass(frozen=True)
class Measured:
    """What a harness measured.

    Attributes:
        queries_ms: Latency of each query in order; in offline, the time between finished batches.
        samples: Images answered.
        seconds: Wall time of all queries.
        loadgen: What LoadGen itself reports, or None where it did not send the queries.
    """

    queries_ms: list[float]
    samples: int
    seconds: float
    loadgen: Mapping[str, Any] | None = None


def score(rules: Rules, measured: Measured) -> dict[str, Any]:
    """Return the figure that counts in a scenario, as JSON values.

    Where LoadGen sent the queries, the figure is its own; the interval is a bootstrap of what was
    timed inside of it.
    """
    reported = measured.loadgen or {}
    percentile = rules.percentile
    if percentile is None:
        throughput = reported.get("samples_per_second") or measured.samples / measured.seconds
        interval = block_interval(
            measured.queries_ms, lambda values: 1000 * rules.samples / float(values.mean())
        )
        return _rounded("samples_per_second", None, throughput, interval, None)
    taken = measured.queries_ms
    latency = reported.get("percentile_ms") or float(np.percentile(taken, percentile))
    interval = block_interval(taken, lambda values: float(np.percentile(values, percentile)))
    estimate = reported.get("early_stopping_ms") or early_stopping(taken, percentile / 100)
    return _rounded("latency_ms", percentile, latency, interval, estimate)


def mlperf_shortfalls(scenario: Scenario, measured: Measured) -> list[str]:
    """Return in what a run falls short of a submission to MLPerf, beside its images and network."""
    found = []
    if measured.seconds < MLPERF_SECONDS:
        found.append(f"it took {measured.seconds:.0f} s, not {MLPERF_SECONDS:.0f}")
    if scenario is Scenario.OFFLINE and measured.samples < MLPERF_OFFLINE_SAMPLES:
        found.append(f"it had {measured.samples} samples, not {MLPERF_OFFLINE_SAMPLES}")
    if measured.loadgen is None:
        found.append("LoadGen did not send the queries")
    elif not measured.loadgen["valid"]:
        found.append(f"LoadGen calls it invalid: {measured.loadgen['invalid_reason']}")
    return found


def _rounded(
    metric: str,
    percentile: int | None,
    value: float,
    interval: Sequence[float],
    early_stopping_ms: float | None,
) -> dict[str, Any]:
    return {
        "metric": metric,
        "percentile": percentile,
        "value": round(value, 4),
        "ci95": [round(v, 4) for v in interval],
        "early_stopping_ms": None if early_stopping_ms is None else round(early_stopping_ms, 4),
    }
