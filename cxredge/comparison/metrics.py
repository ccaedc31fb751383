"""Metrics of a result with their intervals, and the interval of a difference."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from cxredge.bundle.passport import Passport
from cxredge.comparison.result_set import Result
from cxredge.metrics.latency import Latency
from cxredge.results.bench import BenchResult
from cxredge.results.evaluation import Evaluation, Interval, PartialInterval


@dataclass(frozen=True)
class Limits:
    """Largest loss of each metric; more than that, and beyond the noise, is a regression.

    Attributes:
        accuracy_drop: Accuracy and macro F1, absolute.
        auroc_drop: Mean AUROC, absolute.
        sensitivity_drop: Sensitivity of each class, absolute.
        calibration_error_rise: Calibration error, absolute.
        latency_rise: Each percentile of the latency, relative.
    """

    accuracy_drop: float = 0.01
    auroc_drop: float = 0.01
    sensitivity_drop: float = 0.05
    calibration_error_rise: float = 0.02
    latency_rise: float = 0.05


@dataclass(frozen=True)
class Metric:
    """One metric of a result.

    Attributes:
        name: Name of the metric.
        value: Its value.
        ci95: Its 95% interval; None without one.
        higher_is_better: Whether a larger value is better.
        unit: ``share``, ``1`` (F1, areas, errors), ``ms``, ``images/s`` or ``J``.
        limit: Field of :class:`Limits` that applies; empty for none.
    """

    name: str
    value: float
    ci95: Interval | None
    higher_is_better: bool
    unit: str
    limit: str = ""

    @property
    def relative(self) -> bool:
        """Whether its limit is a share of the first value."""
        return self.unit not in ("share", "1")


def metrics_of(result: Result) -> dict[str, Metric]:
    """Return the metrics of a result by name; undefined ones are left out."""
    if isinstance(result, Evaluation):
        found = _evaluation(result)
    elif isinstance(result, BenchResult):
        found = _bench(result)
    else:
        found = _passport(result)
    return {metric.name: metric for metric in found}


def difference_ci95(before: Metric, after: Metric) -> Interval | None:
    """Return the 95% interval of ``after - before``; None if either has none.

    The interval is recovered from those of the two values (Zou and Donner 2008; for Wilson's
    intervals it is Newcombe's 1998), which are taken as independent. For two precisions on the
    same images, whose errors are correlated, it is too wide: it may hide a difference, but does
    not invent one.
    """
    if before.ci95 is None or after.ci95 is None:
        return None
    difference = after.value - before.value
    down, up = _arms(after.value, after.ci95), _arms(before.value, before.ci95)
    low = difference - math.hypot(down[0], up[1])
    return (low, difference + math.hypot(down[1], up[0]))


def _arms(value: float, ci95: Interval) -> tuple[float, float]:
    """Return the distances from a value to the bounds of its interval."""
    return (max(0.0, value - ci95[0]), max(0.0, ci95[1] - value))


def _evaluation(result: Evaluation) -> Iterator[Metric]:
    yield Metric("accuracy", result.accuracy, result.accuracy_ci95, True, "share", "accuracy_drop")
    others = (
        ("macro_f1", result.macro_f1, result.macro_f1_ci95, True, "accuracy_drop"),
        ("auroc", result.auroc, result.auroc_ci95, True, "auroc_drop"),
        (
            "calibration_error",
            result.calibration_error,
            result.calibration_error_ci95,
            False,
            "calibration_error_rise",
        ),
    )
    for name, value, ci95, higher, limit in others:
        if value is not None:
            yield Metric(name, value, _whole(ci95), higher, "1", limit)
    for label, row in result.by_class.items():
        if row.sensitivity is not None:
            yield Metric(
                f"sensitivity of {label}",
                row.sensitivity,
                row.sensitivity_ci95,
                True,
                "share",
                "sensitivity_drop",
            )


def _bench(result: BenchResult) -> Iterator[Metric]:
    yield from _latency("", result.latency_ms)
    yield Metric("images_per_second", result.throughput, None, True, "images/s")
    if result.energy is not None:
        yield Metric("joules_per_image", result.energy.joules_per_image, None, False, "J")


def _passport(passport: Passport) -> Iterator[Metric]:
    for precision, latency in passport.latency_ms.items():
        yield from _latency(f"{precision.value} ", latency)


def _latency(prefix: str, latency: Latency) -> Iterator[Metric]:
    for name, value, ci95 in latency.percentiles:
        yield Metric(f"{prefix}{name}_ms", value, ci95, False, "ms", "latency_rise")


def _whole(ci95: PartialInterval) -> Interval | None:
    low, high = ci95
    return None if low is None or high is None else (low, high)
