"""The figures of a result: value, interval, which way is better, and how much worse is too much."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxredge.comparison.sides import Result, ResultKind, kind_of

Interval = tuple[float, float]
_PERCENTILES = ("p50", "p90", "p99")


@dataclass(frozen=True)
class Limits:
    """How much worse a figure may get; beyond it, and beyond the noise, it is a regression.

    Attributes:
        accuracy_drop: Of accuracy and macro F1, absolute.
        auroc_drop: Of the mean AUROC, absolute.
        sensitivity_drop: Of each class's sensitivity, absolute.
        calibration_error_rise: Absolute.
        latency_rise: Of each percentile, relative.
    """

    accuracy_drop: float = 0.01
    auroc_drop: float = 0.01
    sensitivity_drop: float = 0.05
    calibration_error_rise: float = 0.02
    latency_rise: float = 0.05


@dataclass(frozen=True)
class Metric:
    """One figure of a result.

    Attributes:
        name: What it is called.
        value: What was measured.
        ci95: Its 95% interval; None when it has none.
        higher_is_better: Which way is better.
        unit: ``share``, ``1`` (F1, areas, errors), ``ms``, ``images/s`` or ``J``.
        limit: The field of :class:`Limits` that it is held to; empty for none.
    """

    name: str
    value: float
    ci95: Interval | None
    higher_is_better: bool
    unit: str
    limit: str = ""

    @property
    def relative(self) -> bool:
        """Whether its limit is a share of what it was."""
        return self.unit not in ("share", "1")


def metrics_of(result: Result) -> dict[str, Metric]:
    """Return a result's figures by name; those that it lacks are left out."""
    read = {
        ResultKind.EVALUATION: _evaluation,
        ResultKind.BENCH: _bench,
        ResultKind.PASSPORT: _passport,
    }
    return {figure.name: figure for figure in read[kind_of(result)](result)}


def difference_ci95(before: Metric, after: Metric) -> Interval | None:
    """Return the 95% interval of ``after - before``; None when either has none.

    The interval is recovered from those of the two (Zou and Donner 2008; for Wilson's intervals
    it is Newcombe's 1998). They are taken as independent: for two precisions on the same images,
    which err together, it comes out too wide and hides a difference rather than invents one.
    """
    if before.ci95 is None or after.ci95 is None:
        return None
    difference = after.value - before.value
    down, up = _arms(after.value, after.ci95), _arms(before.value, before.ci95)
    low = difference - math.hypot(down[0], up[1])
    return (low, difference + math.hypot(down[1], up[0]))


def _arms(value: float, ci95: Interval) -> tuple[float, float]:
    """Return how far an interval reaches below and above its value."""
    return (max(0.0, value - ci95[0]), max(0.0, ci95[1] - value))


def _evaluation(result: Result) -> Iterator[Metric]:
    overall = (
        ("accuracy", True, "share", "accuracy_drop"),
        ("macro_f1", True, "1", "accuracy_drop"),
        ("auroc", True, "1", "auroc_drop"),
        ("calibration_error", False, "1", "calibration_error_rise"),
    )
    for name, higher, unit, limit in overall:
        yield from _figure(name, result, name, higher, unit, limit)
    for label, row in result.get("by_class", {}).items():
        yield from _figure(
            f"sensitivity of {label}", row, "sensitivity", True, "share", "sensitivity_drop"
        )


def _bench(result: Result) -> Iterator[Metric]:
    for p in _PERCENTILES:
        yield from _figure(f"{p}_ms", result["latency_ms"], p, False, "ms", "latency_rise")
    yield from _figure("images_per_second", result, "throughput", True, "images/s", "")
    energy = result.get("energy") or {}
    yield from _figure("joules_per_image", energy, "joules_per_image", False, "J", "")


def _passport(result: Result) -> Iterator[Metric]:
    for precision, latency in result["latency_ms"].items():
        for p in _PERCENTILES:
            name = f"{precision} {p}_ms"
            yield from _figure(name, latency, p, False, "ms", "latency_rise")


def _figure(
    name: str, values: Mapping[str, Any], key: str, higher: bool, unit: str, limit: str
) -> Iterator[Metric]:
    value = values.get(key)
    if value is not None:
        yield Metric(name, value, _interval(values.get(f"{key}_ci95")), higher, unit, limit)


def _interval(bounds: Sequence[float | None] | None) -> Interval | None:
    if not bounds or bounds[0] is None or bounds[1] is None:
        return None
    return (bounds[0], bounds[1])
