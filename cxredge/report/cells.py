"""Layout of table cells: numbers aligned right, with their intervals beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cxredge.report import numbers
from cxredge.report.blocks import Table

_NUMBER = re.compile(
    r"[+\-\N{MINUS SIGN}]?\d[\d,.]*( ?(%|ms|MB|kB|mJ|J|points|images/s))?( \([^()]*\))?$"
)
_INTERVAL = re.compile(r"(?P<value>.*\S) \((?P<interval>[^()]*\d[^()]*)\)$")
_WORDS = ("", "-", numbers.MISSING, numbers.TOO_FEW, "is FP32", "not measured")
_SHORT = 26
"""Largest number of characters in a cell that is not wrapped."""
_LONG = 18
"""Largest number of characters in a word that is not wrapped."""


_NARROW, _MEDIUM = 58, 88
"""Largest numbers of characters in a row of a narrow and of a medium table."""


@dataclass(frozen=True)
class Column:
    """Layout of a column.

    Attributes:
        kind: ``number``, ``hash`` or ``text``.
        interval_width: Largest number of characters of an interval; 0 without intervals.
    """

    kind: str
    interval_width: int = 0

    def parts(self, cell: str) -> tuple[str, str]:
        """Return a cell's value and its interval; the interval is empty without one."""
        found = _INTERVAL.match(cell) if self.kind == "number" else None
        return (found["value"], found["interval"]) if found else (cell, "")

    def style(self, cell: str) -> str:
        """Return the CSS classes of a cell."""
        return f"{self.kind} {wrapping(cell)}" if self.kind == "text" else f"{self.kind} short"


def wrapping(cell: str) -> str:
    """Return how a text is wrapped: ``short``, not; ``long``, also within words; else empty."""
    if any(len(word) > _LONG for word in cell.split()):
        return "long"
    return "short" if len(cell) <= _SHORT else ""


def columns(table: Table) -> list[Column]:
    """Return the layout of each column of a table."""
    return [
        _column(name, [row[index] for row in table.rows]) for index, name in enumerate(table.header)
    ]


def width(table: Table) -> str:
    """Return how much room a table requires: ``narrow``, ``medium`` or ``wide``.

    A narrow one fits a phone and half a printed page, a medium one a tablet; others are shown as
    lists.
    """
    texts = zip(table.header, *table.rows, strict=True)
    needed = sum(min(max(map(_length, cells)), _SHORT) + 2 for cells in texts)
    return "narrow" if needed <= _NARROW else "medium" if needed <= _MEDIUM else "wide"


def _length(cell: str) -> int:
    """Return the number of characters of a cell's longest line; an interval has its own line."""
    found = _INTERVAL.match(cell)
    return max(map(len, found.groups())) if found else len(cell)


def _column(name: str, cells: Sequence[str]) -> Column:
    if name == "hash":
        return Column("hash")
    figures = [cell for cell in cells if cell not in _WORDS]
    if not figures or not all(map(_NUMBER.match, figures)):
        return Column("text")
    column = Column("number")
    return Column("number", max(len(column.parts(cell)[1]) for cell in cells))
