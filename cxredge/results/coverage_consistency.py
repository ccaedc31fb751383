"""Contradictions in the coverage of prediction sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cxredge.metrics.classification import wilson
from cxredge.results.coverage import Interval, SetCounts, SetCoverage

_ROUNDING = 1e-6
_COUNTS = ("images", "covered", "single", "classes_in_sets")


def of_coverage(found: SetCoverage, classes: Sequence[str], images: Sequence[int]) -> Iterator[str]:
    """Yield what contradicts itself in the coverage of an evaluation, a clause each.

    Args:
        found: The coverage.
        classes: Classes of the evaluation.
        images: Number of images of each class, also of those that were not answered.
    """
    if set(found.by_class) != set(classes):
        yield f"'coverage' must hold {', '.join(classes)}, one entry for each class"
        return
    for name in _COUNTS:
        total = sum(getattr(row, name) for row in found.by_class.values())
        if getattr(found, name) != total:
            yield f"'{name}' of the coverage is {getattr(found, name)}, that of its classes {total}"
    for name, count in zip(classes, images, strict=True):
        if found.by_class[name].images > count:
            yield f"'{name}' has {count} images, but {found.by_class[name].images} sets"
    for name, row in {"all classes": found, **found.by_class}.items():
        yield from _of_counts(name, row, len(classes))


def _of_counts(name: str, row: SetCounts, classes: int) -> Iterator[str]:
    most = row.images * classes
    smallest = 2 * row.images - row.single
    if max(row.covered, row.single) > row.images or not smallest <= row.classes_in_sets <= most:
        yield f"the sets of {name} cannot hold {row.classes_in_sets} classes, {row.single} alone"
        return
    yield from _share(f"the coverage of {name}", row, row.covered, row.coverage, row.coverage_ci95)
    what = f"the share of sets with one class of {name}"
    yield from _share(what, row, row.single, row.single_share, row.single_share_ci95)
    size = row.classes_in_sets / row.images if row.images else None
    if not _same(row.mean_size, size):
        yield f"the mean size of the sets of {name} is {row.mean_size}, by their counts {size}"


def _share(
    what: str, row: SetCounts, hits: int, value: float | None, ci95: Interval | None
) -> Iterator[str]:
    expected = hits / row.images if row.images else None
    if not _same(value, expected):
        yield f"{what} is {value}, by its counts {expected}"
        return
    bounds = wilson(hits, row.images) if row.images else None
    pairs = zip(ci95 or (), bounds or (), strict=False)
    if (ci95 is None) != (bounds is None) or not all(_same(*pair) for pair in pairs):
        yield f"the interval of {what} is not Wilson's"


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= _ROUNDING
