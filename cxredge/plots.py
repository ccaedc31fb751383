"""Small pictures as SVG text: they need no plotting library, scale on paper and carry no script.

Coordinates of the data are those of the caller; each function returns one ``<svg>`` element with
its own style, so that it can stand in a page or in a file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#1f6feb", "#d1495b", "#2a9d5c", "#b07d12", "#7b5ea7", "#1598a3")
_WIDTH, _HEIGHT = 420, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 20, 44
_PLOT_WIDTH = _WIDTH - _LEFT - _RIGHT
_PLOT_HEIGHT = _HEIGHT - _TOP - _BOTTOM
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#333}"
    ".grid{stroke:#ddd;stroke-width:1}.axis{stroke:#888;stroke-width:1}"
    ".line{fill:none;stroke-width:2}.faint{stroke-dasharray:4 4;stroke:#999}"
)


@dataclass(frozen=True)
class Line:
    """One curve: its name in the legend and its points."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


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
    parts += _legend([line.name for line in lines])
    return _svg(title, parts, height=_HEIGHT + 18 * math.ceil(len(lines) / 2))


def histogram(title: str, x_title: str, values: Sequence[float], marks: Sequence[Line]) -> str:
    """Draw how values are distributed; ``marks`` are upright lines at their first x."""
    low, high = min(values), max(values)
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
            f'height="{_HEIGHT - _BOTTOM - top:.1f}" fill="#9db8e8"/>'
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
    parts += _legend([mark.name for mark in marks])
    return _svg(title, parts, height=_HEIGHT + 18 * math.ceil(len(marks) / 2))


def heat_table(title: str, names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Draw a confusion matrix: true classes in rows, predicted ones in columns."""
    cell, left, top = 62, 96, 34
    size = cell * len(names)
    parts = [
        f'<text x="{left + size / 2}" y="14" text-anchor="middle">predicted</text>',
    ]
    for row, name in enumerate(names):
        total = sum(counts[row]) or 1
        middle = top + row * cell + cell / 2
        parts.append(
            f'<text x="{left - 6}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>'
        )
        parts.append(
            f'<text x="{left + row * cell + cell / 2}" y="{top - 6}" text-anchor="middle">'
            f"{escape(name)}</text>"
        )
        for column, count in enumerate(counts[row]):
            share = count / total
            ink = "#fff" if share > 0.55 else "#333"
            hue = "31,111,235" if row == column else "209,73,91"
            x = left + column * cell
            parts.append(
                f'<rect x="{x}" y="{top + row * cell}" width="{cell - 2}" height="{cell - 2}" '
                f'fill="rgba({hue},{0.06 + 0.94 * share:.2f})"/>'
                f'<text x="{x + cell / 2 - 1}" y="{middle}" text-anchor="middle" '
                f'style="fill:{ink};font-weight:600">{count}</text>'
                f'<text x="{x + cell / 2 - 1}" y="{middle + 15}" text-anchor="middle" '
                f'style="fill:{ink};font-size:10px">{share:.0%}</text>'
            )
    return _svg(title, parts, width=left + size + 8, height=top + size + 8)


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


def _legend(names: Sequence[str]) -> list[str]:
    parts = []
    for index, name in enumerate(names):
        x = _LEFT + (index % 2) * (_PLOT_WIDTH / 2)
        y = _HEIGHT + 4 + 18 * (index // 2)
        colour = COLOURS[index % len(COLOURS)]
        parts.append(
            f'<rect x="{x}" y="{y - 8}" width="14" height="4" fill="{colour}"/>'
            f'<text x="{x + 20}" y="{y - 2}">{escape(name)}</text>'
        )
    return parts


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
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style>{''.join(parts)}</svg>"
    )
