"""Layout of table cells: numbers aligned right, with their intervals beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cxredge.report import numbers
from cxredge.report.page import Table

_NUMBER = re.compile(
    r"[+\-\N{MINUS SIGN}]?\d[\d,.]*( ?(%|ms|MB|kB|mJ|J|points|images/s))?( \([^()]*\))?$"
)
_INTERVAL = re.compile(r"(?P<value>.*\S) \((?P<interval>[^()]*\d[^()]*)\)$")
_WORDS = ("", "-", numbers.MISSING, numbers.TOO_FEW, "is FP32", "not measured")
_SHORT = 26
"""Largest number of characters in a cell that is not wrapped."""


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
        short = len(cell) <= _SHORT or self.kind == "number"
        return " ".join([self.kind, *(["short"] if short and self.kind != "hash" else [])])


def columns(table: Table) -> list[Column]:
    """Return the layout of each column of a table."""
    return [
        _column(name, [row[index] for row in table.rows]) for index, name in enumerate(table.header)
    ]


def _column(name: str, cells: Sequence[str]) -> Column:
    if name == "hash":
        return Column("hash")
    figures = [cell for cell in cells if cell not in _WORDS]
    if not figures or not all(map(_NUMBER.match, figures)):
        return Column("text")
    column = Column("number")
    return Column("number", max(len(column.parts(cell)[1]) for cell in cells))
