"""Writing CSV that every reader takes for the same rows."""

from __future__ import annotations

from collections.abc import Sequence


def csv_line(values: Sequence[object]) -> str:
    """Return one line of CSV (RFC 4180, ended by a line feed).

    Python's own writer leaves a carriage return unquoted before 3.13, and readers then see two
    rows; file names may hold one.
    """
    cells = ("" if value is None else str(value) for value in values)
    quoted = (
        '"' + cell.replace('"', '""') + '"' if any(c in cell for c in ',"\r\n') else cell
        for cell in cells
    )
    return ",".join(quoted) + "\n"
