"""The predictions file: one row for each input, readable while it grows, complete at the end.

Rows are appended to ``.NAME.partial`` beside the file and the file appears only when the last row
is written. A first line in the partial file says which bundle and inputs it belongs to, so that an
interrupted prediction goes on only where it belongs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from cxredge.artifacts.atomic import atomic_file
from cxredge.artifacts.csv_text import csv_line
from cxredge.errors import ArtifactError, CxredgeError

FORMATS = (".csv", ".jsonl", ".parquet")
_PARQUET_ROWS = 4096
_FIRST_COLUMNS = ("path", "status", "label", "probability")


@dataclass(frozen=True)
class Row:
    """One input's outcome.

    Attributes:
        path: The input.
        status: ``ok`` or why there is no prediction.
        label: The most probable class; empty without a prediction.
        probability: Its probability; None without a prediction.
        probabilities: Probability by class; empty without a prediction.
        error: What was wrong with the image, or is doubtful about it, in words.
    """

    path: str
    status: str
    label: str = ""
    probability: float | None = None
    probabilities: Sequence[float] = ()
    error: str = ""


class RowWriter:
    """Appends rows and turns them into the wanted file at the end.

    Args:
        path: The file; its extension decides the format.
        classes: Class names, for the columns ``p_<class>``.
        job: What the rows belong to; a partial file of another job is refused.
        resume: Go on with a partial file if there is one.
        batch: Go on after a whole batch of so many rows, as a runtime may give an image other last
            digits in other company.

    Attributes:
        path: The file.
        rows: Rows that are written.

    Raises:
        CxredgeError: Unknown format, its library is missing, the partial file is another job's, or
            another process is writing it.
    """

    def __init__(
        self,
        path: Path,
        classes: Sequence[str],
        job: Mapping[str, Any],
        resume: bool,
        batch: int = 1,
    ) -> None:
        if path.suffix.lower() not in FORMATS:
            raise CxredgeError(
                f"Predictions are written as {', '.join(FORMATS)}; got '{path.name}'.",
                "Use --out predictions.csv",
            )
        if path.is_dir():
            raise CxredgeError(f"{path} is a folder.", "Use --out predictions.csv")
        _check_replaceable(path)
        if path.suffix.lower() == ".parquet":
            import pyarrow  # noqa: F401 - fail before the work, not after it
        self.path = path
        self._classes = tuple(classes)
        self._partial = path.with_name(f".{path.name}.partial")
        self._head = json.dumps({"job": dict(job), "classes": list(classes)}, sort_keys=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without a buffer, so that what a full disk did not take is not tried again on closing.
        self._stream = self._partial.open("ab", buffering=0)
        try:
            _claim(self._stream, self._partial)
            self.rows = self._take_up(batch) if resume and self.size_bytes else self._begin()
        except BaseException:
            self._stream.close()
            raise

    @property
    def size_bytes(self) -> int:
        """Size of the rows so far."""
        return os.fstat(self._stream.fileno()).st_size

    def append(self, rows: Sequence[Row]) -> None:
        """Add rows; they survive a crash of the process.

        Raises:
            OSError: The disk is full; none of these rows is kept.
        """
        lines = b"".join(_to_line(row) for row in rows)
        whole = self.size_bytes
        try:
            while lines:
                lines = lines[self._stream.write(lines) :]
        except OSError:
            self._stream.truncate(whole)
            raise
        self.rows += len(rows)

    def paths(self) -> Iterator[str]:
        """Yield the inputs of the rows so far."""
        return (str(row["path"]) for row in self._read())

    def finish(self) -> None:
        """Write the final file from all rows and remove the partial one."""
        with atomic_file(self.path) as temporary:
            if self.path.suffix.lower() == ".parquet":
                self._write_parquet(temporary)
            else:
                self._write_text(temporary)
        # In this order, nobody can take the file up in between.
        self._partial.unlink()
        self._stream.close()

    def close(self) -> None:
        """Leave rows as they are, to be gone on with later; without any, nothing is left."""
        if not self.rows:
            self._partial.unlink(missing_ok=True)
        self._stream.close()

    def __enter__(self) -> RowWriter:
        """Return the writer."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close it."""
        self.close()

    def _begin(self) -> int:
        self._partial.write_text(self._head + "\n", encoding="utf-8")
        return 0

    def _take_up(self, batch: int) -> int:
        """Cut off what comes after the last whole batch and return the number of rows."""
        with self._partial.open("rb+") as stream:
            head = stream.readline()
            if head != (self._head + "\n").encode():
                if (self._head + "\n").encode().startswith(head):
                    return self._begin()
                raise ArtifactError(
                    f"{self._partial} was begun with another bundle or other inputs.",
                    "Predict without --resume to start over.",
                )
            whole = end = stream.tell()
            kept = 0
            for number, line in enumerate(stream, start=1):
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                if number % batch == 0:
                    whole, kept = end, number
            stream.truncate(whole)
        return kept

    def _read(self) -> Iterator[dict[str, Any]]:
        with self._partial.open(encoding="utf-8", errors="surrogateescape") as stream:
            next(stream)
            for line in stream:
                path, status, label, probability, probabilities, error = json.loads(line)
                named = zip(
                    self._classes, probabilities or [None] * len(self._classes), strict=True
                )
                yield {
                    "path": path,
                    "status": status,
                    "label": label,
                    "probability": probability,
                    **{f"p_{name}": value for name, value in named},
                    "error": error,
                }

    def _write_text(self, target: Path) -> None:
        names = [*_FIRST_COLUMNS, *(f"p_{name}" for name in self._classes), "error"]
        with target.open("w", newline="", encoding="utf-8", errors="surrogateescape") as stream:
            if self.path.suffix.lower() == ".jsonl":
                stream.writelines(json.dumps(row) + "\n" for row in self._read())
                return
            stream.write(csv_line(names))
            stream.writelines(csv_line(list(row.values())) for row in self._read())

    def _write_parquet(self, target: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        text, number = pa.string(), pa.float64()
        fields = [("path", text), ("status", text), ("label", text), ("probability", number)]
        fields += [(f"p_{name}", number) for name in self._classes] + [("error", text)]
        schema = pa.schema(fields)
        with pq.ParquetWriter(target, schema) as writer:
            group: list[dict[str, Any]] = []
            for row in self._read():
                group.append({k: _utf8(v) if isinstance(v, str) else v for k, v in row.items()})
                if len(group) == _PARQUET_ROWS:
                    writer.write_table(pa.Table.from_pylist(group, schema))
                    group = []
            writer.write_table(pa.Table.from_pylist(group, schema))


def _claim(stream: BinaryIO, path: Path) -> None:
    """Lock a file until it is closed, so that two predictions do not write into each other's."""
    try:
        import fcntl
    except ImportError:  # not a Unix
        return
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        taken = not path.exists() or not os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except BlockingIOError:
        taken = True
    except OSError:  # a file system without locks
        return
    if taken:
        raise CxredgeError(
            f"Another prediction is writing {path}.", "Wait for it, or use another --out."
        )


def _check_replaceable(path: Path) -> None:
    """Refuse to write over a table that is not of predictions, such as a manifest."""
    if path.suffix.lower() != ".csv" or not path.is_file() or not path.stat().st_size:
        return
    with path.open("rb") as stream:
        columns = stream.readline(4096)
    if not columns.startswith(",".join(_FIRST_COLUMNS).encode()):
        raise ArtifactError(
            f"{path} is there and holds no predictions, whose first columns are "
            f"{', '.join(_FIRST_COLUMNS)}.",
            "Choose another --out.",
        )


def _to_line(row: Row) -> bytes:
    probabilities = list(row.probabilities)
    values = (row.path, row.status, row.label, row.probability, probabilities, row.error)
    return (json.dumps(values) + "\n").encode()


def _utf8(text: str) -> str:
    """Replace the bytes of a file name that are not UTF-8, which Parquet cannot hold."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
