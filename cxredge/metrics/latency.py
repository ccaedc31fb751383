"""Latency statistics with intervals, and measurements of several runtimes in turn."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from cxredge.metrics.number_types import Count, NonNegative

Interval = tuple[NonNegative, NonNegative]
_CONFIDENCE = 0.99
_MIN_CALLS = 10
_TAIL = 0.025
"""Probability beyond each end of a two-sided 95% interval."""


class Percentile(NamedTuple):
    """A percentile of a sample that is large enough for it.

    Attributes:
        name: ``p50``, ``p90`` or ``p99``.
        value: Milliseconds.
        ci95: Its 95% interval.
    """

    name: str
    value: float
    ci95: Interval


def least_count(share: float) -> int:
    """Return the smallest sample in which a percentile has a two-sided 95% interval.

    The interval's upper end is at best the largest value, which the percentile exceeds with
    probability share^n (Wilks 1941; David and Nagaraja 2003, 7.1): 6 values are required for the
    median, 36 for the 90th and 368 for the 99th percentile. With fewer, the largest value stands
    for the percentile, and nothing says how far beyond it the percentile may be.

    Args:
        share: The percentile as a share, in (0, 1).
    """
    return math.ceil(math.log(_TAIL) / math.log(share))


SHARES: Mapping[str, float] = {"p50": 0.50, "p90": 0.90, "p99": 0.99}
"""Percentiles that are reported, as shares."""
LEAST_COUNTS: Mapping[str, int] = {name: least_count(share) for name, share in SHARES.items()}
"""Smallest number of measurements for each percentile."""


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
        p99_ci95: The same for the 99th; its upper end is the maximum if there are few samples.
        cv: Standard deviation over mean.
    """

    JSON_KEYS: ClassVar = (
        "count", "mean", "p50", "p90", "p99", "p50_ci95", "p90_ci95", "p99_ci95", "cv",
        "supported_percentiles",
    )  # fmt: skip

    count: Count
    mean: NonNegative
    p50: NonNegative
    p90: NonNegative
    p99: NonNegative
    p50_ci95: Interval
    p90_ci95: Interval
    p99_ci95: Interval
    cv: NonNegative

    @property
    def supported_percentiles(self) -> tuple[str, ...]:
        """The percentiles that the sample is large enough for; the others are not shown."""
        return tuple(name for name, least in LEAST_COUNTS.items() if self.count >= least)

    @property
    def percentiles(self) -> tuple[Percentile, ...]:
        """The percentiles that the sample is large enough for, with their intervals."""
        return tuple(
            Percentile(name, getattr(self, name), getattr(self, f"{name}_ci95"))
            for name in self.supported_percentiles
        )

    def percentile(self, name: str) -> Percentile | None:
        """Return a percentile; None if the sample is too small for it."""
        return next((one for one in self.percentiles if one.name == name), None)

    def rounded(self) -> Latency:
        """Return the sample as it is written to files, rounded to 0.1 microseconds."""
        return Latency(**{key: _rounded(value) for key, value in vars(self).items()})

    def to_json(self) -> dict[str, Any]:
        """Return the rounded values as JSON values."""
        rounded = self.rounded()
        found = {key: getattr(rounded, key) for key in self.JSON_KEYS}
        return {key: list(v) if isinstance(v, tuple) else v for key, v in found.items()}


def _rounded(value: Any) -> Any:
    return tuple(map(_rounded, value)) if isinstance(value, tuple) else round(value, 4)


def summarise(milliseconds: Sequence[float]) -> Latency:
    """Summarise measured latencies; outliers are kept.

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
        p50_ci95=order_statistic_interval(values, 0.50),
        p90_ci95=order_statistic_interval(values, 0.90),
        p99_ci95=order_statistic_interval(values, 0.99),
        cv=float(values.std() / values.mean()) if values.mean() else 0.0,
    )


def order_statistic_interval(ordered: np.ndarray, share: float) -> Interval:
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


def block_interval(
    in_order: Sequence[float], statistic: Callable[[np.ndarray], float], draws: int = 400
) -> Interval:
    """Return the 95% interval of a statistic from a bootstrap of blocks of neighbours.

    Successive latencies are correlated, because clocks and temperature change slowly; an interval
    that assumes independence is too narrow. Blocks of n^(1/3) neighbours keep the correlation
    (Kuensch 1989; Hall, Horowitz and Jing 1995 on the length). The draws are always the same.

    Args:
        in_order: Latencies in the order of measurement.
        statistic: Maps a float array (n,) to a number, for example a percentile.
        draws: Number of draws.
    """
    values = np.asarray(in_order, dtype=np.float64)
    count = len(values)
    length = max(1, round(count ** (1 / 3)))
    blocks = math.ceil(count / length)
    rng = np.random.default_rng(0)
    inside = np.arange(length)
    found = np.empty(draws)
    for draw in range(draws):
        starts = rng.integers(0, count, (blocks, 1))
        found[draw] = statistic(values[((starts + inside) % count).ravel()[:count]])
    low, high = np.percentile(found, (2.5, 97.5))
    return (float(low), float(high))


def early_stopping(milliseconds: Sequence[float], share: float) -> float | None:
    """Return MLPerf's early-stopping estimate of a percentile.

    The smallest latency that the percentile does not exceed with 99% confidence: with n queries,
    the t-th largest, where t is the most queries beyond the percentile that fewer than 1 of 100
    such runs would have (MLPerf Inference rules, "Early Stopping"). It is above the plain
    percentile, the more the fewer queries there are.

    Returns:
        None if there are too few queries: 64 are required for the 90th percentile, 662 for the
        99th.
    """
    values = np.sort(np.asarray(milliseconds, dtype=np.float64))
    count = len(values)
    if not count:
        return None
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    beyond = np.arange(count + 1)
    log_probability = (
        log_factorial[-1]
        - log_factorial
        - log_factorial[::-1]
        + beyond * math.log(1 - share)
        + (count - beyond) * math.log(share)
    )
    allowed = int(np.searchsorted(np.cumsum(np.exp(log_probability)), 1 - _CONFIDENCE)) - 1
    return float(values[count - allowed]) if allowed >= 1 else None


def interleave(
    candidates: Mapping[str, Callable[[], object]], warm_up: int, rounds: int
) -> dict[str, list[float]]:
    """Time several calls in turn, so that a drift of the machine's speed affects all alike.

    Args:
        candidates: Functions to time, by name.
        warm_up: Number of untimed rounds before.
        rounds: Number of timed rounds.

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


def take_turns(
    candidates: Mapping[str, Callable[[], object]],
    seconds: float,
    settle_s: float = 0.05,
    stretch_s: float = 0.1,
) -> dict[str, list[float]]:
    """Time several runtimes on the processor in turn, each for some time per turn.

    Threads of a runtime spin before they sleep, and caches hold the data of the last call. If calls
    alternate one by one, each is slowed by the one before it: FP32 of MobileNet V1 took twice as
    long (benchmarks/results/cpu_engines.md). So the first part of a turn is not counted.

    Args:
        candidates: Functions to time, by name.
        seconds: Minimum total time per function; at least ten calls are timed.
        settle_s: Untimed part of a turn; at least one call.
        stretch_s: Timed part of a turn; at least one call.

    Returns:
        Milliseconds of each call that counts, by name, in order.
    """
    taken: dict[str, list[float]] = {name: [] for name in candidates}
    while any(sum(ms) < 1000 * seconds or len(ms) < _MIN_CALLS for ms in taken.values()):
        for name, call in candidates.items():
            _keep_calling(call, settle_s)
            taken[name] += _keep_calling(call, stretch_s)
    return taken


def _keep_calling(call: Callable[[], object], seconds: float) -> list[float]:
    """Call repeatedly, at least once; return the milliseconds of each call."""
    taken: list[float] = []
    start = previous = time.perf_counter()
    while not taken or previous - start < seconds:
        call()
        now = time.perf_counter()
        taken.append((now - previous) * 1000)
        previous = now
    return taken
