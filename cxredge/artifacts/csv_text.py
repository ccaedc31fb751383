"""CSV text that every reader splits into the same rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

_CRLF = "\r\n"


def csv_line(values: Iterable[object]) -> str:
    """Return one line of CSV (RFC 4180, ended by a line feed); None is an empty cell.

    Before Python 3.13, the writer quotes a line break only if its line terminator has it. File
    names may hold a carriage return, and readers would see two rows.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator=_CRLF).writerow(values)
    return text.getvalue().removesuffix(_CRLF) + "\n"
