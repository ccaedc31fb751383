"""Latencies: how they are taken side by side and how sure their percentiles are."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Interval = tuple[float, float]


@dataclass(frozen=True)
class Latency:
    """A sample of latencies in milliseconds.

    Attributes:
        count: Number of measurements.
        mean: Their mean.
        p50: Median.
        p90: 90th percentile.
        p99: 99th percentile.
        p50_ci95: 95% interval of the median from order statistics; no assumption on the shape.
        p90_ci95: The same for the 90th percentile.
        p99_ci95: The same for the 99th; its upper end is the maximum when there are few samples.
        cv: Standard deviation over mean.
    """

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    p50_ci95: Interval
    p90_ci95: Interval
    p99_ci95: Interval
    cv: float

    def to_json(self) -> dict[str, Any]:
        """Return the values rounded to microseconds."""
        return {
            key: [round(v, 4) for v in value] if isinstance(value, tuple) else round(value, 4)
            for key, value in asdict(self).items()
        }


def summarise(milliseconds: Sequence[float]) -> Latency:
    """Describe measured latencies; none is left out as an outlier.

    Raises:
        ValueError: There are none.
    """
    if not len(milliseconds):
        raise ValueError("no latencies were measured")
    values = np.sort(np.asarray(milliseconds, dtype=np.float64))
    p50, p90, p99 = (float(np.percentile(values, q)) for q in (50, 90, 99))
    return Latency(
        count=len(values),
        mean=float(values.mean()),
        p50=p50,
        p90=p90,
        p99=p99,
        p50_ci95=percentile_interval(values, 0.50),
        p90_ci95=percentile_interval(values, 0.90),
        p99_ci95=percentile_interval(values, 0.99),
        cv=float(values.std() / values.mean()) if values.mean() else 0.0,
    )


def percentile_interval(ordered: np.ndarray, share: float) -> Interval:
    """Return the 95% interval of a percentile from order statistics (David and Nagaraja 2003, 7.1).

    Args:
        ordered: float (n,), ascending.
        share: The percentile as a share, in (0, 1).
    """
    count = len(ordered)
    half = 1.96 * math.sqrt(count * share * (1 - share))
    low = max(0, math.floor(count * share - half) - 1)
    high = min(count - 1, math.ceil(count * share + half))
    return (float(ordered[low]), float(ordered[high]))


def interleave(
    candidates: Mapping[str, Callable[[], object]], warm_up: int, rounds: int
) -> dict[str, list[float]]:
    """Time several things in turn, so that a drift of the machine's speed meets them all alike.

    Args:
        candidates: What to call, by name.
        warm_up: Untimed rounds before.
        rounds: Timed rounds.

    Returns:
        Milliseconds of each call, by name, in order.
    """
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    for round_number in range(warm_up + rounds):
        for name, call in candidates.items():
            start = time.perf_counter_ns()
            call()
            elapsed = (time.perf_counter_ns() - start) / 1e6
            if round_number >= warm_up:
                taken[name].append(elapsed)
    return taken
