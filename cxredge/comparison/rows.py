"""Comparison of result sets with the first one, metric by metric."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from cxredge.bundle.passport import Passport
from cxredge.comparison.metrics import Limits, Metric, difference_ci95, metrics_of
from cxredge.comparison.pairs import Pair, check_across, pairs_of
from cxredge.comparison.result_set import Result, ResultSet, kind_of
from cxredge.errors import ArtifactError
from cxredge.results.evaluation import Interval


class Change(str, Enum):
    """Assessment of a difference, in the words that are shown."""

    SAME = "within the noise"
    BETTER = "better"
    WORSE = "worse, within the limit"
    REGRESSION = "regression"
    NOT_COMPARABLE = "not comparable"
    NO_INTERVAL = "no interval"


@dataclass(frozen=True)
class ComparisonRow:
    """One metric of one result set, compared with the first set.

    Attributes:
        metric: Name of the metric.
        unit: ``share``, ``1`` (F1, areas, errors), ``ms``, ``images/s`` or ``J``.
        of: Name of the set.
        what: Measured quantity.
        precisions: Precision of the first and of this set; ``+ fp32`` if FP32 decides near ties;
            empty for passports, whose metrics name theirs.
        before: Value of the first set.
        before_ci95: Its 95% interval.
        after: Value of this set.
        after_ci95: Its 95% interval.
        difference: ``after - before``.
        difference_ci95: Its 95% interval; None if either value has none.
        change: The difference relative to ``before``.
        limit: Largest allowed loss, absolute if the unit is ``share`` or ``1``, otherwise relative;
            None without a limit.
        exceeds_noise: Whether the interval of the difference excludes zero.
        regression: Whether the loss exceeds the limit and the noise.
        finding: Assessment of the difference.
        unlike: Reasons against comparing the two; nothing is a regression then.
        doubts: Reasons against each result alone.
    """

    metric: str
    unit: str
    of: str
    what: str
    precisions: tuple[str, str]
    before: float
    before_ci95: Interval | None
    after: float
    after_ci95: Interval | None
    difference: float
    difference_ci95: Interval | None
    change: float
    limit: float | None
    exceeds_noise: bool
    regression: bool
    finding: Change
    unlike: tuple[str, ...]
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Result sets compared with a first one.

    Attributes:
        against: Name of the first set.
        rows: One per metric and set.
        not_compared: Results that were not compared, with the reason.
        regressions: Number of regressions.
        same: Names of the sets that are the first one, or a copy of it, so that nothing differs.
    """

    against: str
    rows: tuple[ComparisonRow, ...]
    not_compared: tuple[str, ...]
    regressions: int
    same: tuple[str, ...] = ()


def compare(
    first: ResultSet, others: Sequence[ResultSet], limits: Limits, across: Collection[str] = ()
) -> Comparison:
    """Compare result sets with the first one, if they have anything in common.

    Args:
        first: The set that the others are compared with.
        others: At least one.
        limits: Largest allowed loss of each metric.
        across: Aspects of benchmarks that may differ, such as ``machine``.

    Raises:
        ArtifactError: No two results measured the same thing.
        WrongUsage: ``across`` names an aspect that is unknown or must agree.
    """
    check_across(across)
    found = compare_what_matches(first, others, limits, across)
    if not found.rows:
        kinds = " and ".join(_kinds(held) for held in (first, *others))
        raise ArtifactError(
            f"Nothing can be compared: {kinds}. {'; '.join(found.not_compared)}.",
            "Evaluate the same images, or bench the same scenario, on all of them.",
        )
    return found


def compare_what_matches(
    first: ResultSet, others: Sequence[ResultSet], limits: Limits, across: Collection[str] = ()
) -> Comparison:
    """Compare the results that measured the same thing: images, scenario and stages.

    Arguments as for :func:`compare`; without common results the comparison has no rows.
    """
    left_out = [reason.removesuffix(".") for held in (first, *others) for reason in held.left_out]
    rows: list[ComparisonRow] = []
    unpaired: list[str] = []
    for other in others:
        for item in pairs_of(first, other, across):
            if isinstance(item, Pair):
                rows += _rows(other, item, limits)
            else:
                unpaired.append(item)
    return Comparison(
        against=first.name,
        rows=tuple(rows),
        not_compared=tuple(dict.fromkeys([*unpaired, *left_out])),
        regressions=sum(row.regression for row in rows),
        same=tuple(other.name for other in others if list(other.results) == list(first.results)),
    )


def _kinds(held: ResultSet) -> str:
    kinds = dict.fromkeys(kind_of(result).value for result in held.results)
    return f"{held.name} holds {', '.join(kinds)}"


def _rows(held: ResultSet, pair: Pair, limits: Limits) -> Iterator[ComparisonRow]:
    after_by_name = metrics_of(pair.after)
    for name, before in metrics_of(pair.before).items():
        if name in after_by_name:
            yield _row(held.name, pair, before, after_by_name[name], limits)


def _served_precision(result: Result) -> str:
    if isinstance(result, Passport):
        return ""
    return result.precision.value + (" + fp32" if result.cascade else "")


def _row(of: str, pair: Pair, before: Metric, after: Metric, limits: Limits) -> ComparisonRow:
    difference, interval = after.value - before.value, difference_ci95(before, after)
    change = _relative(before.value, difference)
    limit: float | None = getattr(limits, before.limit) if before.limit else None
    exceeds_noise = interval is not None and (interval[0] > 0 or interval[1] < 0)
    rise = change if before.relative else difference
    loss = -rise if before.higher_is_better else rise
    regression = not pair.unlike and exceeds_noise and limit is not None and loss > limit
    return ComparisonRow(
        metric=before.name,
        unit=before.unit,
        of=of,
        what=pair.what,
        precisions=(_served_precision(pair.before), _served_precision(pair.after)),
        before=before.value,
        before_ci95=before.ci95,
        after=after.value,
        after_ci95=after.ci95,
        difference=difference,
        difference_ci95=interval,
        change=change,
        limit=limit,
        exceeds_noise=exceeds_noise,
        regression=regression,
        finding=_assess(pair, interval, exceeds_noise, loss, regression),
        unlike=pair.unlike,
        doubts=pair.doubts,
    )


def _relative(before: float, difference: float) -> float:
    """Return a difference as a share of the first value; from zero, 1 with its sign."""
    return difference / abs(before) if before else float(difference > 0) - float(difference < 0)


def _assess(
    pair: Pair, interval: Interval | None, exceeds_noise: bool, loss: float, regression: bool
) -> Change:
    if pair.unlike:
        return Change.NOT_COMPARABLE
    if interval is None:
        return Change.NO_INTERVAL
    if regression:
        return Change.REGRESSION
    if not exceeds_noise:
        return Change.SAME
    return Change.WORSE if loss > 0 else Change.BETTER
