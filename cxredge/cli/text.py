"""Plain-text tables and numbers for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxredge.backends.base import CascadeCounts
    from cxredge.metrics.latency import Latency
    from cxredge.results.coverage import SetCoverage


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as aligned columns, numbers right-aligned."""
    cells = [[str(value) for value in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    right = [
        all(isinstance(row[column], (int, float)) for row in rows) for column in range(len(header))
    ]
    lines = [
        "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def counts_table(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Return images by class (rows) and split (columns)."""
    labels = sorted({label for by_class in counts.values() for label in by_class})
    rows = [[label, *(by_class.get(label, 0) for by_class in counts.values())] for label in labels]
    return table(["class", *counts], rows)


def controls_line(counts: Mapping[str, int]) -> list[str]:
    """Return a line with the number of controls by kind; no line without controls."""
    if not counts:
        return []
    listed = ", ".join(f"{number} {kind}" for kind, number in counts.items())
    return [f"Controls, which show none of the classes: {listed}."]


def near_ties(cascade: CascadeCounts | None) -> list[str]:
    """Return a line with the number of near ties that FP32 decided; no line without a cascade."""
    if cascade is None:
        return []
    near, images = cascade.near, cascade.images
    return [f"Near ties that FP32 decided: {near} of {images} ({share(near / images)})."]


def set_lines(found: SetCoverage | None) -> list[str]:
    """Return what prediction sets cover and their size; no line without sets."""
    if found is None or not found.images:
        return []
    target = share(found.target).replace(".0%", "%")
    by_class = ", ".join(
        f"{name} {share(row.coverage, row.coverage_ci95)}" for name, row in found.by_class.items()
    )
    return [
        f"Prediction sets for {target} coverage contain the class of {found.covered} of "
        f"{found.images} answered images: {by_class}.",
        f"They hold {found.mean_size:.2f} classes on average; {share(found.single_share)} of them "
        "hold one.",
    ]


def milliseconds(latency: Latency, percentile: str, decimals: int) -> str:
    """Return a percentile; a dash if there are too few measurements for it."""
    found = latency.percentile(percentile)
    return f"{found.value:.{decimals}f}" if found else "-"


def share(value: float | None, interval: Sequence[float | None] | None = None) -> str:
    """Return a share as a percentage, with its interval if given."""
    if value is None:
        return "-"
    if not interval or interval[0] is None or interval[1] is None:
        return f"{100 * value:.1f}%"
    return f"{100 * value:.1f}% ({100 * interval[0]:.1f}-{100 * interval[1]:.1f})"
