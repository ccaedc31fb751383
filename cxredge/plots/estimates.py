"""Estimates with their intervals, one per row, on a shared axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from cxredge.plots.frame import RIGHT, WIDTH, Axis, colour, shorten, svg, text_width

_LINE, _BAND = 15, 24
"""Height of a line of a name, and of the dot with its interval below it."""

_TOP = 8
_MAX_LINES = 3
_HALO = "paint-order:stroke;stroke:var(--paper,#fff);stroke-width:4px"
"""Keeps texts readable on top of grid lines."""

_MANY_TIMES = 25
"""Ratio of the largest to the smallest value above which the axis is logarithmic."""


@dataclass(frozen=True)
class Estimate:
    """One row of the chart.

    Attributes:
        name: Name of the estimate, above the row.
        text: The formatted estimate, at the right.
        value: The estimate.
        ci95: Its 95% interval; None if it is not known.
        marks: Further values on the same scale, drawn as rings.
        series: Index of its colour.
    """

    name: str
    text: str
    value: float
    ci95: tuple[float, float] | None = None
    marks: Sequence[float] = field(default=())
    series: int = 0

    @property
    def values(self) -> tuple[float, ...]:
        """All values that the axis must include."""
        return (self.value, *(self.ci95 or ()), *self.marks)


def estimate_chart(
    title: str,
    x_title: str,
    rows: Sequence[Estimate],
    limits: tuple[float, float] | None = None,
) -> str:
    """Draw a dot with its interval for each row.

    Args:
        title: Accessible title of the chart.
        x_title: Title of the x axis.
        rows: At least one.
        limits: Range of the axis; without it the axis starts at 0, or is logarithmic if values
            differ by a factor of more than 25.
    """
    axis = _axis(x_title, rows, limits)
    names = [_lines(row) for row in rows]
    tops = [_TOP]
    for lines in names:
        tops.append(tops[-1] + _LINE * len(lines) + _BAND)
    bottom = tops[-1]
    parts = []
    for tick in axis.ticks():
        x = _x(tick, axis)
        parts.append(
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>'
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick:.4g}</text>'
        )
    parts.append(
        f'<text x="{WIDTH / 2}" y="{bottom + 34}" text-anchor="middle">{escape(x_title)}</text>'
    )
    for row, lines, top in zip(rows, names, tops, strict=False):
        parts += _row(row, lines, axis, top)
    return svg(title, parts, height=bottom + 42)


def _axis(title: str, rows: Sequence[Estimate], limits: tuple[float, float] | None) -> Axis:
    values = [value for row in rows for value in row.values]
    low, high = limits or (0.0, max(values) * 1.02 or 1.0)
    smallest = min(values)
    if limits is None and smallest > 0 and max(values) / smallest > _MANY_TIMES:
        return Axis(title, smallest / 1.2, high * 1.2, logarithmic=True)
    return Axis(title, low, high)


def _lines(row: Estimate) -> list[str]:
    """Wrap a name at its words, leaving room for the value; truncate lines that are too long."""
    room = WIDTH - 2 * RIGHT - text_width(row.text) - 12
    lines = [""]
    for word in row.name.split():
        longer = f"{lines[-1]} {word}".strip()
        if text_width(longer) <= room or len(lines) == _MAX_LINES or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return [shorten(line, room) for line in lines]


def _row(row: Estimate, lines: Sequence[str], axis: Axis, top: float) -> list[str]:
    y, ink = top + _LINE * len(lines) + 12, colour(row.series)
    parts = [
        f'<text x="{RIGHT}" y="{top + _LINE * (index + 1)}" style="{_HALO}">{escape(line)}</text>'
        for index, line in enumerate(lines)
    ]
    parts.append(
        f'<text x="{WIDTH - RIGHT}" y="{top + _LINE}" text-anchor="end" '
        f'style="font-weight:600;{_HALO}">{escape(row.text)}</text>'
    )
    if row.marks:
        far = _x(max(row.marks), axis)
        parts.append(
            f'<line class="axis" x1="{_x(row.value, axis):.1f}" x2="{far:.1f}" y1="{y}" y2="{y}"/>'
        )
    if row.ci95:
        low, high = (_x(bound, axis) for bound in row.ci95)
        parts.append(
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="{ink}" '
            'stroke-width="6" stroke-opacity=".4" stroke-linecap="round"/>'
        )
    parts += [
        f'<circle cx="{_x(mark, axis):.1f}" cy="{y}" r="3.5" fill="var(--paper,#fff)" '
        f'stroke="{ink}" stroke-width="1.5"/>'
        for mark in row.marks
    ]
    parts.append(f'<circle cx="{_x(row.value, axis):.1f}" cy="{y}" r="4.5" fill="{ink}"/>')
    return parts


def _x(value: float, axis: Axis) -> float:
    return RIGHT + (WIDTH - 2 * RIGHT) * axis.position(value)
