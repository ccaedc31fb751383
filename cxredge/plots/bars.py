"""Stacked bars and confusion matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from cxredge.plots.frame import RIGHT, WIDTH, colour, legend, shorten, svg, text_width

_CELL, _SMALL_CELL = 62, 46
_FEW = 5
"""Maximum number of classes that get the larger cells."""


def stacked_bar(title: str, shares: Sequence[tuple[str, float]]) -> str:
    """Draw one horizontal bar of parts of a whole, with each part's name and share below."""
    total = sum(value for _, value in shares) or 1.0
    width, left = WIDTH - 2 * RIGHT, float(RIGHT)
    parts = []
    for index, (_, value) in enumerate(shares):
        part = width * value / total
        parts.append(
            f'<rect x="{left:.1f}" y="8" width="{part:.1f}" height="30" fill="{colour(index)}"/>'
        )
        if value / total > 0.1:
            parts.append(
                f'<text x="{left + part / 2:.1f}" y="28" text-anchor="middle" '
                f'style="fill:var(--paper,#fff);font-weight:600">{value / total:.0%}</text>'
            )
        left += part
    names = [f"{name} {value / total:.1%}" for name, value in shares]
    below, height = legend(names, left=RIGHT, top=60)
    return svg(title, parts + below, height=46 + height)


def heat_table(title: str, names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Draw a confusion matrix: true classes in rows, predicted classes in columns."""
    shown = [shorten(name) for name in names]
    longest = max(map(text_width, shown))
    cell = _CELL if len(names) <= _FEW else _SMALL_CELL
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
    return svg(title, parts, width=math.ceil(left + size + 8), height=math.ceil(top + size + 8))


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
            f'<text x="{middle:.1f}" y="{top + cell / 2:.1f}" text-anchor="middle" '
            f'style="fill:{ink};font-weight:600">{count}</text>'
            f'<text x="{middle:.1f}" y="{top + cell / 2 + 14:.1f}" text-anchor="middle" '
            f'style="fill:{ink};font-size:10px">{share:.0%}</text>'
        )
    return parts
