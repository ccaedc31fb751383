"""Each side against the first one, figure by figure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from cxredge.comparison.metrics import Interval, Limits, Metric, difference_ci95, metrics_of
from cxredge.comparison.pairs import Pair, check_across, pairs_of
from cxredge.comparison.sides import Result, ResultSet, kind_of
from cxredge.errors import ArtifactError


class Change(str, Enum):
    """What a difference amounts to, in the words that are shown."""

    SAME = "within the noise"
    BETTER = "better"
    WORSE = "worse, within the limit"
    REGRESSION = "regression"
    NOT_COMPARABLE = "not comparable"
    NO_INTERVAL = "no interval"


@dataclass(frozen=True)
class ComparisonRow:
    """One figure of one side against the first.

    Attributes:
        metric: The figure.
        unit: ``share``, ``1`` (F1, areas, errors), ``ms``, ``images/s`` or ``J``.
        of: The side.
        what: What was measured.
        precisions: Of the first and of this side, with FP32 where that decides near ties.
        before: Of the first.
        before_ci95: Its interval.
        after: Of this side.
        after_ci95: Its interval.
        difference: ``after - before``.
        difference_ci95: Its interval; None when either figure has none.
        change: The difference as a share of ``before``.
        limit: How much worse it may get, relative where the unit is neither ``share`` nor ``1``;
            None for none.
        exceeds_noise: Whether the interval of the difference excludes zero.
        regression: Whether it got worse by more than the limit, and beyond the noise.
        finding: The same in words.
        unlike: Why the two may not be compared; then nothing is a regression.
        doubts: What each result says against itself.
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
    """All rows, and what was not compared and why."""

    against: str
    rows: tuple[ComparisonRow, ...]
    not_compared: tuple[str, ...]

    @property
    def regressions(self) -> int:
        """How many figures got worse beyond limit and noise."""
        return sum(row.regression for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON values."""
        return {**asdict(self), "regressions": self.regressions}


def compare(
    first: ResultSet, others: Sequence[ResultSet], limits: Limits, across: Collection[str] = ()
) -> Comparison:
    """Compare each side with the first one.

    Only like is compared: evaluations of the same images, benchmarks of the same scenario and
    stages, passports.

    Args:
        first: What the others are held against.
        others: At least one.
        limits: How much worse each figure may get.
        across: Aspects of benchmarks that are meant to differ, such as ``machine``.

    Raises:
        ArtifactError: There is nothing in common.
        WrongUsage: ``across`` names what must agree or does not exist.
    """
    check_across(across)
    found = [(side, item) for side in others for item in pairs_of(first, side, across)]
    rows = [
        row for side, item in found if isinstance(item, Pair) for row in _rows(side, item, limits)
    ]
    lonely = [item for _, item in found if isinstance(item, str)]
    if not rows:
        kinds = " and ".join(_kinds(side) for side in (first, *others))
        raise ArtifactError(
            f"Nothing can be compared: {kinds}. {'; '.join(lonely)}.",
            "Evaluate the same images, or bench the same scenario, on all of them.",
        )
    return Comparison(first.name, tuple(rows), tuple(dict.fromkeys(lonely)))


def _kinds(side: ResultSet) -> str:
    kinds = dict.fromkeys(kind_of(result).value for result in side.results)
    return f"{side.name} holds {', '.join(kinds)}"


def _rows(side: ResultSet, pair: Pair, limits: Limits) -> Iterator[ComparisonRow]:
    after_by_name = metrics_of(pair.after)
    for name, before in metrics_of(pair.before).items():
        if name in after_by_name:
            yield _row(side.name, pair, before, after_by_name[name], limits)


def _served(result: Result) -> str:
    """Name what gave a result: its precision, and FP32 beside it where that decides near ties."""
    return str(result.get("precision", "")) + (" + fp32" if result.get("cascade") else "")


def _row(of: str, pair: Pair, before: Metric, after: Metric, limits: Limits) -> ComparisonRow:
    difference, interval = after.value - before.value, difference_ci95(before, after)
    change = _change(before.value, difference)
    limit = getattr(limits, before.limit) if before.limit else None
    apart = interval is not None and (interval[0] > 0 or interval[1] < 0)
    loss = change if before.relative else difference
    worse = -loss if before.higher_is_better else loss
    regression = not pair.unlike and apart and limit is not None and worse > limit
    return ComparisonRow(
        metric=before.name,
        unit=before.unit,
        of=of,
        what=pair.what,
        precisions=(_served(pair.before), _served(pair.after)),
        before=before.value,
        before_ci95=before.ci95,
        after=after.value,
        after_ci95=after.ci95,
        difference=difference,
        difference_ci95=interval,
        change=change,
        limit=limit,
        exceeds_noise=apart,
        regression=regression,
        finding=_finding(pair, interval, apart, worse, regression),
        unlike=pair.unlike,
        doubts=pair.doubts,
    )


def _change(before: float, difference: float) -> float:
    """Return a difference as a share; from nothing, any is as large as can be: a whole."""
    return difference / abs(before) if before else float(difference > 0) - float(difference < 0)


def _finding(
    pair: Pair, interval: Interval | None, apart: bool, worse: float, regression: bool
) -> Change:
    if pair.unlike:
        return Change.NOT_COMPARABLE
    if interval is None:
        return Change.NO_INTERVAL
    if regression:
        return Change.REGRESSION
    if not apart:
        return Change.SAME
    return Change.WORSE if worse > 0 else Change.BETTER
