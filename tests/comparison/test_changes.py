"""Assessment of a difference: noise, better, worse, or a regression."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from cxredge.artifacts.records import to_json
from cxredge.comparison import Change, Limits, compare
from cxredge.comparison.metrics import Metric, difference_ci95
from cxredge.metrics.classification import wilson
from cxredge.vocabulary import Precision
from tests.comparison.result_sets import compared, result_set, row_of
from tests.results.sample_results import bench, class_metrics, evaluation, latency


def test_row_shows_the_difference() -> None:
    (row,) = compared(
        evaluation(0.8, (0.75, 0.84)), evaluation(0.9, (0.86, 0.93), precision=Precision.INT8)
    )
    assert row.metric == "accuracy"
    assert row.of == "B"
    assert (row.before, row.after) == (0.8, 0.9)
    assert row.difference == pytest.approx(0.1)
    assert row.change == pytest.approx(0.125)
    assert row.precisions == ("fp32", "int8")
    assert row.exceeds_noise is True
    assert row.regression is False
    assert row.finding is Change.BETTER
    assert "test" in row.what


def test_difference_of_shares_has_newcombes_interval() -> None:
    """Newcombe 1998, Statistics in Medicine 17, table II, method 10: 56/70 against 48/80."""
    first = Metric("a", 48 / 80, wilson(48, 80), True, "share")
    second = Metric("a", 56 / 70, wilson(56, 70), True, "share")
    assert difference_ci95(first, second) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_interval_of_a_difference_is_antisymmetric() -> None:
    first, second = (
        Metric("a", v, ci, True, "share") for v, ci in ((0.5, (0.3, 0.6)), (0.7, (0.6, 0.9)))
    )
    low, high = difference_ci95(first, second)
    assert difference_ci95(second, first) == pytest.approx((-high, -low))


def test_noise_can_be_exceeded_while_intervals_overlap() -> None:
    """The difference of two overlapping intervals may exceed the noise; wider ones hide it."""
    assert compared(evaluation(0.7, (0.65, 0.75)), evaluation(0.79, (0.74, 0.84)))[0].exceeds_noise
    (row,) = compared(evaluation(0.7, (0.6, 0.8)), evaluation(0.79, (0.69, 0.89)))
    assert row.finding is Change.SAME


@pytest.mark.parametrize("missing", [(None, None), (None, 0.3)])
def test_without_an_interval_nothing_exceeds_the_noise(missing: Any) -> None:
    before = evaluation(1, (0.9, 1), auroc=0.9, auroc_ci95=(0.88, 0.92))
    after = evaluation(1, (0.9, 1), auroc=0.2, auroc_ci95=missing)
    row = row_of("auroc", before, after)
    assert row.difference_ci95 is None
    assert not row.exceeds_noise
    assert not row.regression
    assert row.finding is Change.NO_INTERVAL


HIGHER_IS_BETTER = {
    "accuracy": True,
    "macro_f1": True,
    "auroc": True,
    "calibration_error": False,
    "p50_ms": False,
    "p90_ms": False,
    "p99_ms": False,
}


@pytest.mark.parametrize("name", HIGHER_IS_BETTER)
@pytest.mark.parametrize("rises", [True, False])
def test_only_a_change_for_the_worse_is_a_regression(name: str, rises: bool) -> None:
    low, high = (0.2, (0.19, 0.21)), (0.4, (0.39, 0.41))
    pair = (low, high) if rises else (high, low)
    results = []
    for value, interval in pair:
        if name.endswith("_ms"):
            key = name.removesuffix("_ms")
            changes: dict[str, Any] = {key: value, f"{key}_ci95": interval}
            results.append(bench(1, latency_ms=replace(latency(1), **changes)))
        else:
            changes = {name: value, f"{name}_ci95": interval}
            results.append(replace(evaluation(0.5, (0.4, 0.6)), **changes))
    row = row_of(name, *results)
    assert row.change == pytest.approx(1.0 if rises else -0.5)
    assert row.exceeds_noise is True
    assert row.regression is (rises != HIGHER_IS_BETTER[name])


@pytest.mark.parametrize(
    ("after", "limit", "finding"),
    [
        (10.4, 0.05, Change.WORSE),
        (10.6, 0.05, Change.REGRESSION),
        (10.4, 0.0, Change.REGRESSION),
        (20.0, 1.5, Change.WORSE),
        (9.0, 0.0, Change.BETTER),
    ],
)
def test_limit_of_latency_is_relative(after: float, limit: float, finding: Change) -> None:
    row = row_of(
        "p50_ms",
        bench(10, (9.9, 10.1)),
        bench(after, (after - 0.1, after + 0.1)),
        limits=Limits(latency_rise=limit),
    )
    assert row.exceeds_noise is True
    assert row.finding is finding
    assert row.regression is (finding is Change.REGRESSION)


@pytest.mark.parametrize(("limit", "regression"), [(0.02, True), (0.04, False)])
def test_limit_of_accuracy_is_absolute(limit: float, regression: bool) -> None:
    (row,) = compared(
        evaluation(0.5, (0.495, 0.505)),
        evaluation(0.47, (0.465, 0.475)),
        limits=Limits(accuracy_drop=limit),
    )
    assert row.regression is regression


def test_sensitivity_of_each_class_is_compared() -> None:
    def of(sensitivity: float, low: float, high: float) -> Any:
        row = class_metrics(sensitivity, (low, high))
        return evaluation(0.9, (0.8, 0.95), by_class={"covid19": row, "viral": class_metrics()})

    rows = compared(of(0.95, 0.9, 0.98), of(0.5, 0.4, 0.6))
    assert {row.metric: row.finding for row in rows} == {
        "accuracy": Change.SAME,
        "sensitivity of covid19": Change.REGRESSION,
    }


def test_regression_must_exceed_the_noise() -> None:
    row = row_of("p50_ms", bench(10, (5, 15)), bench(14, (9, 19)))
    assert row.change == pytest.approx(0.4)
    assert row.regression is False


def test_worsening_from_zero_is_a_regression() -> None:
    limits = Limits()
    before = evaluation(1, (0.9, 1), calibration_error=0.0, calibration_error_ci95=(0.0, 0.0))
    after = evaluation(1, (0.9, 1), calibration_error=0.3, calibration_error_ci95=(0.2, 0.4))
    found = compare(result_set(before, name="A"), [result_set(after)], limits)
    (row,) = [row for row in found.rows if row.metric == "calibration_error"]
    assert row.exceeds_noise is True
    assert row.regression is True
    assert found.regressions == 1
    assert json.loads(json.dumps(to_json(found), allow_nan=False))["regressions"] == 1


def test_unchanged_zero_is_no_change() -> None:
    (row,) = compared(evaluation(0.0, (0, 0.1)), evaluation(0.0, (0, 0.1)))
    assert row.change == 0
    assert row.finding is Change.SAME


def test_sets_that_are_the_same_are_named() -> None:
    first, copied = (
        result_set(evaluation(0.9, (0.85, 0.95)), name="b"),
        result_set(evaluation(0.9, (0.85, 0.95)), name="copy of b"),
    )
    other = result_set(evaluation(0.8, (0.7, 0.9)), name="c")
    assert compare(first, [copied, first, other], Limits()).same == ("copy of b", "b")
    assert compare(first, [other], Limits()).same == ()
