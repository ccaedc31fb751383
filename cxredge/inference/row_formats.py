"""Tables of prediction rows as CSV, JSON Lines or Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cxredge.artifacts.csv_text import csv_line
from cxredge.artifacts.output_file import check_output_file
from cxredge.artifacts.regular_file import open_regular
from cxredge.data.manifest import CLASS_SEPARATORS
from cxredge.errors import ArtifactError, CxredgeError

FORMATS = (".csv", ".jsonl", ".parquet")
_FIRST_COLUMNS = ("path", "status", "label", "probability")
_LAST_COLUMNS = ("set", "familiarity", "decided_by", "margin", "above_threshold", "error")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_SEPARATORS = dict(zip(("set", "above_threshold"), CLASS_SEPARATORS, strict=True))
"""Separator of the lists of a column in CSV."""
_PARQUET_ROWS = 4096

Values = Mapping[str, Any]
"""A row's values by column."""


def check_output(path: Path) -> None:
    """Check that predictions can be written to a path, before any work.

    Raises:
        CxredgeError: Unknown extension, or the path is a folder.
        ArtifactError: The path is another table, such as a manifest.
        ModuleNotFoundError: Parquet's library is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise CxredgeError(
            f"Predictions are written as {', '.join(FORMATS)}; got '{path.name}'.",
            "Use --out predictions.csv",
        )
    if path.is_dir():
        raise CxredgeError(f"{path} is a folder.", "Use --out predictions.csv")
    check_output_file(path)
    _check_replaceable(path)
    if path.suffix.lower() == ".parquet":
        import pyarrow  # noqa: F401


def write_table(target: Path, suffix: str, classes: Sequence[str], rows: Iterator[Values]) -> None:
    """Write rows in a format.

    Args:
        target: The file to write.
        suffix: One of ``FORMATS``, in any case.
        classes: Class names, for the columns ``p_<class>``.
        rows: See :func:`columns_of`.
    """
    if suffix.lower() == ".parquet":
        _write_parquet(target, classes, rows)
        return
    with target.open("w", newline="", encoding="utf-8") as stream:
        if suffix.lower() == ".jsonl":
            stream.writelines(json.dumps(row) + "\n" for row in rows)
            return
        stream.write(csv_line(column_names(classes)))
        stream.writelines(csv_line(map(csv_cell, row, row.values())) for row in rows)


def column_names(classes: Sequence[str]) -> list[str]:
    """Return the columns of a predictions file."""
    return [*_FIRST_COLUMNS, *map(_column, classes), *_LAST_COLUMNS]


def columns_of(classes: Sequence[str], values: Sequence[Any]) -> Values:
    """Return a row by column.

    Args:
        classes: Class names, for the columns ``p_<class>``.
        values: Path, status, label, probability, probabilities in the order of the classes (empty
            without a prediction), prediction set (None without a prediction), familiarity, deciding
            precision, margin, classes above their threshold (None without a prediction) and error.
    """
    first, probabilities, last = values[:4], values[4], values[5:]
    named = zip(classes, probabilities or [None] * len(classes), strict=True)
    return {
        **dict(zip(_FIRST_COLUMNS, first, strict=True)),
        **{_column(name): value for name, value in named},
        **dict(zip(_LAST_COLUMNS, last, strict=True)),
    }


def csv_cell(column: str, value: object) -> object:
    r"""Return a value as a cell of CSV, which has no lists.

    Bytes of a file name that are not UTF-8 are written as ``\xe9``. A spreadsheet takes text that
    begins with ``=`` or its like for a formula: such a path gets ``./`` before it, which does not
    change the file that it names, and any other such text an apostrophe
    (https://owasp.org/www-community/attacks/CSV_Injection). Numbers are not changed.
    """
    if isinstance(value, list):
        value = _SEPARATORS[column].join(value)
    if not isinstance(value, str):
        return value
    text = value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if text.startswith(_FORMULA):
        return f"./{text}" if column == "path" else f"'{text}"
    return text


def _column(class_name: str) -> str:
    return f"p_{class_name}"


def _write_parquet(target: Path, classes: Sequence[str], rows: Iterator[Values]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text, number = pa.string(), pa.float64()
    fields = [("path", text), ("status", text), ("label", text), ("probability", number)]
    fields += [(_column(name), number) for name in classes]
    kinds = (pa.list_(text), number, text, number, pa.list_(text), text)
    fields += zip(_LAST_COLUMNS, kinds, strict=True)
    schema = pa.schema(fields)
    with pq.ParquetWriter(target, schema) as writer:
        group: list[dict[str, Any]] = []
        for row in rows:
            group.append({k: parquet_text(v) if isinstance(v, str) else v for k, v in row.items()})
            if len(group) == _PARQUET_ROWS:
                writer.write_table(pa.Table.from_pylist(group, schema))
                group = []
        writer.write_table(pa.Table.from_pylist(group, schema))


def parquet_text(text: str) -> str:
    """Replace the bytes of a file name that are not UTF-8, which Parquet cannot hold."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _check_replaceable(path: Path) -> None:
    """Refuse to overwrite a table of something else, such as a manifest."""
    if path.suffix.lower() != ".csv" or not path.is_file() or not path.stat().st_size:
        return
    with open_regular(path) as stream:
        columns = stream.readline(4096)
    if not columns.startswith(",".join(_FIRST_COLUMNS).encode()):
        raise ArtifactError(
            f"{path} exists and holds no predictions, whose first columns are "
            f"{', '.join(_FIRST_COLUMNS)}.",
            "Choose another --out.",
        )
