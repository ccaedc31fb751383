"""Small pictures as SVG text: they need no plotting library, scale on paper and carry no script.

Coordinates of the data are those of the caller; each function returns one ``<svg>`` element with
its own style, so that it can stand in a page or in a file. Ink and grid take the page's ``--ink``
and ``--rule`` where it sets them, so that a dark page gets light text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

NAMESPACE = "http://www.w3.org/2000/svg"
"""Needed where the picture is a file of its own; within HTML it can be left out."""

COLOURS = ("#1f5fa8", "#d1495b", "#2a9d5c", "#b07d12", "#7b5ea7", "#1598a3")
_WIDTH, _HEIGHT = 420, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 20, 44
_PLOT_WIDTH = _WIDTH - _LEFT - _RIGHT
_PLOT_HEIGHT = _HEIGHT - _TOP - _BOTTOM
_STYLE = (
    ".plot text{font:12px system-ui,sans-serif;fill:var(--ink,#333)}"
    ".plot .grid{stroke:var(--rule,#ddd);stroke-width:1}.plot .axis{stroke:#888;stroke-width:1}"
    ".plot .line{fill:none;stroke-width:2}.plot .faint{stroke-dasharray:4 4;stroke:#999}"
)
_CHARACTER = 6.6
"""Width of an average character at 12 px; widths of texts are estimated with it."""


@dataclass(frozen=True)
class Dot:
    """One marked point of a curve; the radius is in pixels."""

    x: float
    y: float
    radius: float = 4.0


@dataclass(frozen=True)
class Line:
    """One curve: its name in the legend, its points, and points to mark."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dots: Sequence[Dot] = field(default=())


@dataclass(frozen=True)
class Axis:
    """One axis: its title and the range it shows."""

    title: str
    low: float
    high: float

    def place(self, value: float) -> float:
        """Return where a value lies, 0 at the low end and 1 at the high one."""
        span = self.high - self.low
        return (value - self.low) / span if span else 0.5

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values within the range."""
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        step = 10 ** math.floor(math.log10(span / most))
        step = next(step * m for m in (1, 2, 5, 10) if span / (step * m) <= most)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def line_chart(
    title: str, x_axis: Axis, y_axis: Axis, lines: Sequence[Line], diagonal: bool = False
) -> str:
    """Draw curves with a legend; ``diagonal`` adds the line of chance or of perfect calibration."""
    parts = _frame(x_axis, y_axis)
    if diagonal:
        parts.append(
            _polyline(
                [x_axis.low, x_axis.high],
                [y_axis.low, y_axis.high],
                x_axis,
                y_axis,
                'class="line faint"',
            )
        )
    for index, line in enumerate(lines):
        colour = COLOURS[index % len(COLOURS)]
        parts.append(_polyline(line.x, line.y, x_axis, y_axis, f'class="line" stroke="{colour}"'))
        parts += [
            f'<circle cx="{_x(dot.x, x_axis):.1f}" cy="{_y(dot.y, y_axis):.1f}" '
            f'r="{dot.radius:.1f}" fill="{colour}"/>'
            for dot in line.dots
        ]
    legend, height = _legend([line.name for line in lines])
    return _svg(title, parts + legend, height=_HEIGHT + height)


def histogram(
    title: str,
    x_title: str,
    values: Sequence[float],
    marks: Sequence[Line],
    most: float = math.inf,
) -> str:
    """Draw how values are distributed.

    Args:
        title: What is shown, for those who cannot see it.
        x_title: Under the axis.
        values: At least one.
        marks: Upright lines at their first x.
        most: Larger values are counted in the last bin, so that a rare one does not squeeze the
            others together.
    """
    low, high = min(values), min(max(values), max(most, min(values)))
    bins = max(8, min(40, round(math.sqrt(len(values)))))
    width = (high - low) / bins or 1.0
    counts = [0] * bins
    for value in values:
        counts[min(int((value - low) / width), bins - 1)] += 1
    x_axis = Axis(x_title, low, low + bins * width)
    y_axis = Axis("count", 0, max(counts) * 1.05)
    parts = _frame(x_axis, y_axis)
    for index, count in enumerate(counts):
        left = _x(low + index * width, x_axis)
        top = _y(count, y_axis)
        parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{_PLOT_WIDTH / bins - 1:.1f}" '
            f'height="{_HEIGHT - _BOTTOM - top:.1f}" fill="#8fabd8"/>'
        )
    for index, mark in enumerate(marks):
        parts.append(
            _polyline(
                [mark.x[0]] * 2,
                [0, y_axis.high],
                x_axis,
                y_axis,
                f'class="line" stroke="{COLOURS[index % len(COLOURS)]}"',
            )
        )
    legend, height = _legend([mark.name for mark in marks])
    return _svg(title, parts + legend, height=_HEIGHT + height)


def stacked_bar(title: str, shares: Sequence[tuple[str, float]]) -> str:
    """Draw one horizontal bar of parts of a whole, with each part's name and share below."""
    total = sum(value for _, value in shares) or 1.0
    width, left = _WIDTH - 2 * _RIGHT, float(_RIGHT)
    parts = []
    for index, (_, value) in enumerate(shares):
        part = width * value / total
        parts.append(
            f'<rect x="{left:.1f}" y="8" width="{part:.1f}" height="30" '
            f'fill="{COLOURS[index % len(COLOURS)]}"/>'
        )
        if value / total > 0.1:
            parts.append(
                f'<text x="{left + part / 2:.1f}" y="28" text-anchor="middle" '
                f'style="fill:#fff;font-weight:600">{value / total:.0%}</text>'
            )
        left += part
    names = [f"{name} {value / total:.1%}" for name, value in shares]
    legend, height = _legend(names, left=_RIGHT, top=60)
    return _svg(title, parts + legend, height=46 + height)


def heat_table(title: str, names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Draw a confusion matrix: true classes in rows, predicted ones in columns."""
    shown = [_short(name) for name in names]
    longest = max(len(name) for name in shown) * _CHARACTER
    cell = 62
    upright = longest > cell
    left, top = 34 + longest, 42 + (longest if upright else 0)
    size = cell * len(names)
    middle = top + size / 2
    parts = [
        f'<text x="{left + size / 2:.1f}" y="14" text-anchor="middle">predicted</text>',
        f'<text transform="rotate(-90 14 {middle:.1f})" x="14" y="{middle:.1f}" '
        'text-anchor="middle">true class</text>',
    ]
    for row, name in enumerate(shown):
        y, x = top + (row + 0.5) * cell, left + (row + 0.5) * cell
        turned = f' transform="rotate(-90 {x + 4:.1f} {top - 6:.1f})"' if upright else ""
        at = f'x="{x + 4:.1f}"' if upright else f'x="{x - 1:.1f}" text-anchor="middle"'
        parts.append(
            f'<text x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{escape(name)}</text>'
            f'<text {at} y="{top - 6:.1f}"{turned}>{escape(name)}</text>'
        )
        parts += _heat_row(row, counts[row], left, top + row * cell, cell)
    return _svg(title, parts, width=math.ceil(left + size + 8), height=math.ceil(top + size + 8))


def _heat_row(row: int, counts: Sequence[int], left: float, top: float, cell: int) -> list[str]:
    total = sum(counts) or 1
    parts = []
    for column, count in enumerate(counts):
        share = count / total
        ink = "#fff" if share > 0.55 else "var(--ink,#333)"
        hue = "31,95,168" if row == column else "209,73,91"
        x, middle = left + column * cell, left + (column + 0.5) * cell - 1
        parts.append(
            f'<rect x="{x:.1f}" y="{top:.1f}" width="{cell - 2}" height="{cell - 2}" '
            f'fill="rgba({hue},{0.06 + 0.94 * share:.2f})"/>'
            f'<text x="{middle:.1f}" y="{top + 31:.1f}" text-anchor="middle" '
            f'style="fill:{ink};font-weight:600">{count}</text>'
            f'<text x="{middle:.1f}" y="{top + 46:.1f}" text-anchor="middle" '
            f'style="fill:{ink};font-size:10px">{share:.0%}</text>'
        )
    return parts


def _frame(x_axis: Axis, y_axis: Axis) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for value in y_axis.ticks():
        y = _y(value, y_axis)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for value in x_axis.ticks():
        x = _x(value, x_axis)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{value:.4g}</text>')
    middle = _TOP + _PLOT_HEIGHT / 2
    parts += [
        f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>',
        f'<line class="axis" x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP}" y2="{bottom}"/>',
        f'<text x="{_LEFT + _PLOT_WIDTH / 2}" y="{bottom + 34}" text-anchor="middle">'
        f"{escape(x_axis.title)}</text>",
        f'<text transform="rotate(-90 14 {middle})" x="14" y="{middle}" text-anchor="middle">'
        f"{escape(y_axis.title)}</text>",
    ]
    return parts


def _legend(
    names: Sequence[str], left: float = _LEFT, top: float = _HEIGHT + 12
) -> tuple[list[str], int]:
    """Return the legend and its height: two columns, or one when a name needs the room."""
    room = (_WIDTH - left) / 2 - 24
    columns = 2 if all(len(name) * _CHARACTER <= room for name in names) else 1
    parts = []
    for index, name in enumerate(names):
        x = left + (index % columns) * (_WIDTH - left) / 2
        y = top + 18 * (index // columns)
        colour = COLOURS[index % len(COLOURS)]
        parts.append(
            f'<rect x="{x}" y="{y - 8}" width="14" height="4" fill="{colour}"/>'
            f'<text x="{x + 20}" y="{y - 2}">{escape(_short(name, 54))}</text>'
        )
    return parts, 10 + 18 * math.ceil(len(names) / columns)


def _short(name: str, most: int = 24) -> str:
    """Cut a name that is too long for its place; the tables beside a picture have it whole."""
    return name if len(name) <= most else name[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _polyline(
    x: Sequence[float], y: Sequence[float], x_axis: Axis, y_axis: Axis, attributes: str
) -> str:
    points = " ".join(f"{_x(a, x_axis):.1f},{_y(b, y_axis):.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline {attributes} points="{points}"/>'


def _x(value: float, axis: Axis) -> float:
    return _LEFT + _PLOT_WIDTH * axis.place(value)


def _y(value: float, axis: Axis) -> float:
    return _HEIGHT - _BOTTOM - _PLOT_HEIGHT * axis.place(value)


def _svg(title: str, parts: Sequence[str], width: int = _WIDTH, height: int = _HEIGHT) -> str:
    return (
        f'<svg xmlns="{NAMESPACE}" class="plot" role="img" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style>{''.join(parts)}</svg>"
    )
