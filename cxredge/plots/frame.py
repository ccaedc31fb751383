"""Shared parts of all charts: axes, colours, text widths, legend and the SVG element."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

NAMESPACE = "http://www.w3.org/2000/svg"
"""XML namespace: required in a separate file, optional within HTML."""

WIDTH, HEIGHT = 420, 280
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 20, 44

_COLOURS = (
    "#1f5fa8",
    "#c8414f",
    "#2a8f55",
    "#a87608",
    "#7b5ea7",
    "#1287a0",
    "#b0478f",
    "#5c6670",
)
# Dashes distinguish series in greyscale prints and for colour-blind readers.
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "", "7 3", "2 3", "9 3 2 3")
_STYLE = (
    ".plot text{font:12px system-ui,sans-serif;fill:var(--ink,#333)}"
    ".plot .grid{stroke:var(--rule,#ddd);stroke-width:1}.plot .axis{stroke:#888;stroke-width:1}"
    ".plot .line{fill:none;stroke-width:2}.plot .faint{stroke-dasharray:4 4;stroke:#999}"
)
_NARROW, _WIDE = 6.6, 12.0
"""Average width of a Latin and of an East Asian character at 12 px, in pixels."""


@dataclass(frozen=True)
class Axis:
    """One axis: its title, its range, and whether it is logarithmic."""

    title: str
    low: float
    high: float
    logarithmic: bool = False

    def position(self, value: float) -> float:
        """Return the position of a value: 0 at the low end, 1 at the high end."""
        low, high = self.low, self.high
        if self.logarithmic:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        return (value - low) / (high - low) if high != low else 0.5

    def ticks(self, most: int = 6) -> list[float]:
        """Return round values within the range."""
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        if self.logarithmic:
            return self._round_ratios(most)
        step = 10 ** math.floor(math.log10(span / most))
        step = next(step * m for m in (1, 2, 5, 10) if span / (step * m) <= most)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _round_ratios(self, most: int) -> list[float]:
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for multiples in ((1, 2, 5), (1,)):
            found = [m * 10.0**d for d in decades for m in multiples]
            within = [value for value in found if self.low <= value <= self.high]
            if len(within) <= most + 1:
                break
        return within


def colour(index: int) -> str:
    """Return the colour of a series; the page may override it."""
    index %= len(_COLOURS)
    return f"var(--series-{index},{_COLOURS[index]})"


def dashes(index: int) -> str:
    """Return the dash attribute that distinguishes a series without colour."""
    pattern = _DASHES[index % len(_DASHES)]
    return f' stroke-dasharray="{pattern}"' if pattern else ""


def text_width(text: str) -> float:
    """Estimate the width of a text at 12 px, in pixels."""
    return sum(_WIDE if unicodedata.east_asian_width(c) in "WF" else _NARROW for c in text)


def shorten(text: str, most: float = 24 * _NARROW) -> str:
    """Truncate a text to a width in pixels; the tables beside a chart show it in full."""
    if text_width(text) <= most:
        return text
    while text and text_width(text) > most - _NARROW:
        text = text[:-1]
    return text.rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def legend(
    names: Sequence[str], left: float, top: float, dashed: bool = False
) -> tuple[list[str], int]:
    """Return the legend and its height: two columns, or one if a name is too long for two."""
    room = (WIDTH - left) / 2 - 24
    columns = 2 if all(text_width(name) <= room for name in names) else 1
    parts = []
    for index, name in enumerate(names):
        x = left + (index % columns) * (WIDTH - left) / 2
        y = top + 18 * (index // columns)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x + 14:.1f}" y1="{y - 6}" y2="{y - 6}" stroke-width="4" '
            f'stroke="{colour(index)}"{dashes(index) if dashed else ""}/>'
            f'<text x="{x + 20:.1f}" y="{y - 2}">{escape(shorten(name, WIDTH - x - 20))}</text>'
        )
    return parts, 10 + 18 * math.ceil(len(names) / columns)


def svg(title: str, parts: Sequence[str], width: int = WIDTH, height: int = HEIGHT) -> str:
    """Return the ``<svg>`` element around the parts, with an accessible title."""
    return (
        f'<svg xmlns="{NAMESPACE}" class="plot" role="img" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style>{''.join(parts)}</svg>"
    )
