"""Line charts and histograms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from cxredge.plots.frame import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    colour,
    dashes,
    legend,
    svg,
)

_PLOT_WIDTH = WIDTH - LEFT - RIGHT
_PLOT_HEIGHT = HEIGHT - TOP - BOTTOM


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
        ink = colour(index)
        parts.append(
            _polyline(line.x, line.y, x_axis, y_axis, f'class="line" stroke="{ink}"{dashes(index)}')
        )
        parts += [
            f'<circle cx="{_x(dot.x, x_axis):.1f}" cy="{_y(dot.y, y_axis):.1f}" '
            f'r="{dot.radius:.1f}" fill="{ink}"/>'
            for dot in line.dots
        ]
    below, height = legend([line.name for line in lines], LEFT, HEIGHT + 12, dashed=True)
    return svg(title, parts + below, height=HEIGHT + height)


def histogram(
    title: str,
    x_title: str,
    values: Sequence[float],
    marks: Sequence[Line],
    most: float = math.inf,
) -> str:
    """Draw the distribution of values.

    Args:
        title: Accessible title of the chart.
        x_title: Title of the x axis.
        values: At least one.
        marks: Vertical lines, each at its first x.
        most: Larger values are counted in the last bin, so that outliers do not compress the rest
            of the histogram.
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
            f'height="{HEIGHT - BOTTOM - top:.1f}" fill="var(--bars,#8fabd8)"/>'
        )
    for index, mark in enumerate(marks):
        parts.append(
            _polyline(
                [mark.x[0]] * 2,
                [0, y_axis.high],
                x_axis,
                y_axis,
                f'class="line" stroke="{colour(index)}"{dashes(index)}',
            )
        )
    below, height = legend([mark.name for mark in marks], LEFT, HEIGHT + 12, dashed=True)
    return svg(title, parts + below, height=HEIGHT + height)


def _frame(x_axis: Axis, y_axis: Axis) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in y_axis.ticks():
        y = _y(value, y_axis)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for value in x_axis.ticks():
        x = _x(value, x_axis)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{value:.4g}</text>')
    middle = TOP + _PLOT_HEIGHT / 2
    parts += [
        f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>',
        f'<line class="axis" x1="{LEFT}" x2="{LEFT}" y1="{TOP}" y2="{bottom}"/>',
        f'<text x="{LEFT + _PLOT_WIDTH / 2}" y="{bottom + 34}" text-anchor="middle">'
        f"{escape(x_axis.title)}</text>",
        f'<text transform="rotate(-90 14 {middle})" x="14" y="{middle}" text-anchor="middle">'
        f"{escape(y_axis.title)}</text>",
    ]
    return parts


def _polyline(
    x: Sequence[float], y: Sequence[float], x_axis: Axis, y_axis: Axis, attributes: str
) -> str:
    positions = (f"{_x(a, x_axis):.1f},{_y(b, y_axis):.1f}" for a, b in zip(x, y, strict=True))
    # Of many thousand points, those at the same pixel are drawn once.
    points = " ".join(dict.fromkeys(positions))
    return f'<polyline {attributes} points="{points}"/>'


def _x(value: float, axis: Axis) -> float:
    return LEFT + _PLOT_WIDTH * axis.position(value)


def _y(value: float, axis: Axis) -> float:
    return HEIGHT - BOTTOM - _PLOT_HEIGHT * axis.position(value)
