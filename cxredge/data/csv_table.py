"""Tables in CSV as this package, spreadsheets and statistics programs write them."""

from __future__ import annotations

import codecs
import contextlib
import csv
import hashlib
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cxredge.errors import DataError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DELIMITERS = (",", ";", "\t")
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_ODD_BYTES = re.compile("[\udc80-\udcff]")
_PROBED = 200
_SAVE_AS = "Save it as CSV in UTF-8, with commas."


@dataclass(frozen=True)
class CsvTable:
    """Rows of a CSV file.

    Attributes:
        path: The file.
        columns: Names of its columns.
        rows: Number of the line on which each row ends, and its cells by column.
        sha256: SHA-256 of the file.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]
    sha256: str

    def require(self, columns: Sequence[str], expected: str = "") -> None:
        """Raise DataError if a column is missing.

        Args:
            columns: The required columns.
            expected: What the file should have, for the message.
        """
        if missing := [name for name in columns if name not in self.columns]:
            lacking = f"{self.path} lacks the column(s) {', '.join(missing)}{expected}."
            raise DataError(f"{lacking} Found: {', '.join(self.columns[:12])[:200] or 'none'}.")


def read_csv(path: Path, expected: Sequence[str], file_column: str = "") -> CsvTable:
    """Read a table in UTF-8, with or without a byte order mark, UTF-16 or Windows-1252.

    Cells are separated by commas, semicolons or tabs. Bytes of file names that are not UTF-8 are
    kept as surrogate escapes.

    Args:
        path: The file.
        expected: Columns that tell the separators apart.
        file_column: Column with file names, relative to the folder of ``path``: if bytes of theirs
            are not UTF-8, the encoding is the one in which the files exist.

    Raises:
        DataError: The file is a spreadsheet's workbook, or not CSV.
    """
    content = path.read_bytes()
    if content.startswith(_WORKBOOKS):
        raise DataError(f"{path} is a workbook of a spreadsheet, not CSV.", _SAVE_AS)
    text = _decode(content, path)
    parsed = _parse(text, path, expected)
    if _ODD_BYTES.search(text) and _is_windows(parsed, path.parent, file_column):
        parsed = _parse(content.decode("cp1252", "replace"), path, expected)
    return CsvTable(path, parsed.columns, parsed.rows, hashlib.sha256(content).hexdigest())


class _Parsed(NamedTuple):
    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]


def _decode(content: bytes, path: Path) -> str:
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    if encoding is None and b"\0" in content[:2]:
        encoding = "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
    if encoding is None:
        return content.decode("utf-8", "surrogateescape")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not valid {encoding}: {error.reason}.", _SAVE_AS) from None


def _parse(text: str, path: Path, expected: Sequence[str]) -> _Parsed:
    # Spreadsheets write and read a first line that names the separator.
    named = re.match(r"sep=(.)\r?\n", text)
    delimiter = named[1] if named else _delimiter(text, expected)
    stream = io.StringIO(text[named.end() :] if named else text, newline="")
    reader = csv.reader(stream, delimiter=delimiter)
    before = 1 if named else 0
    try:
        columns = tuple(next(reader, ()))
        rows = []
        for cells in reader:
            padded = [*cells, *[""] * (len(columns) - len(cells))]
            if cells:
                row = dict(zip(columns, padded, strict=False))
                rows.append((reader.line_num + before, row))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num + before}: {error}.") from None
    return _Parsed(columns, tuple(rows))


def _delimiter(text: str, expected: Sequence[str]) -> str:
    """Return the separator that finds most of the expected columns in the first line."""
    first = re.split(r"[\r\n]", text, maxsplit=1)[0]
    wanted = {name.casefold() for name in expected}

    def columns(delimiter: str) -> int:
        return len({name.strip('" ').casefold() for name in first.split(delimiter)} & wanted)

    return max(_DELIMITERS, key=columns)


def _is_windows(parsed: _Parsed, folder: Path, file_column: str) -> bool:
    """Return whether bytes that are not UTF-8 are Windows-1252, not those of file names."""
    names = [row[file_column] for _, row in parsed.rows if file_column in row]
    odd = [name for name in names if _ODD_BYTES.search(name)]
    if not odd:
        return True
    windows = [os.fsencode(name).decode("cp1252", "replace") for name in odd]
    return _existing(folder, windows) > _existing(folder, odd)


def _existing(folder: Path, names: Sequence[str]) -> int:
    found = 0
    for name in names[:_PROBED]:
        with contextlib.suppress(OSError, ValueError):
            found += (folder / name).exists()
    return found
