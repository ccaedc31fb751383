"""A predictions file that was finished: what ``--resume`` does with it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from cxredge.artifacts.regular_file import open_regular
from cxredge.data.sources import Source
from cxredge.errors import ArtifactError
from cxredge.inference.predictions_file import partial_of
from cxredge.inference.row_formats import Values, column_names, csv_cell, parquet_text

_DAMAGED = (ValueError, TypeError, KeyError, StopIteration, RecursionError, csv.Error)


def is_finished(path: Path) -> bool:
    """Return whether a predictions file was finished, so that there is nothing to resume."""
    return path.is_file() and not partial_of(path).exists()


def finished_rows(
    path: Path, classes: Sequence[str], sources: Iterator[Source]
) -> Iterator[Values]:
    """Yield the rows of a finished file, after comparing them with the inputs.

    Args:
        path: The file.
        classes: The classes of the bundle.
        sources: The inputs.

    Raises:
        ArtifactError: The file cannot be read, has other columns, or rows of other inputs.
    """
    shown = _as_written(path.suffix.lower())
    rows = _rows(path, column_names(classes))
    for number, (row, source) in enumerate(zip_longest(rows, sources), start=1):
        expected = None if source is None else shown(str(source))
        found = None if row is None else row["path"]
        if row is None or found != expected:
            raise ArtifactError(
                f"{path} is finished, but not with these inputs: row {number} is "
                f"{found or 'missing'}; expected {expected or 'no further row'}.",
                "Predict without --resume to replace it, or use another --out.",
            )
        yield row


def _as_written(suffix: str) -> Any:
    if suffix == ".csv":
        return lambda text: csv_cell("path", text)
    return parquet_text if suffix == ".parquet" else str


def _rows(path: Path, columns: Sequence[str]) -> Iterator[Values]:
    """Yield the rows of a predictions file in any format."""
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".parquet": _parquet_rows}
    reader = readers[path.suffix.lower()](path)
    while True:
        try:
            row = next(reader, None)
            if row is None:
                return
            if list(row) != list(columns):
                raise ValueError
        except _DAMAGED:
            raise ArtifactError(
                f"{path} exists and is not a predictions file of this bundle's classes.",
                "Predict without --resume to replace it, or use another --out.",
            ) from None
        yield row


def _csv_rows(path: Path) -> Iterator[Values]:
    with path.open(newline="", encoding="utf-8") as stream:
        yield from csv.DictReader(stream, strict=True)


def _jsonl_rows(path: Path) -> Iterator[Values]:
    with open_regular(path) as stream:
        for line in stream:
            row: dict[str, Any] = json.loads(line)
            yield row


def _parquet_rows(path: Path) -> Iterator[Values]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches():
        yield from batch.to_pylist()
