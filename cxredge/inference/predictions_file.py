"""The predictions file: one row per input, kept as it grows, complete when it appears.

Rows are appended to ``.NAME.partial`` beside the file, and the file appears when the last row is
written. The first line of the partial file identifies the bundle and the inputs, so that an
interrupted prediction is resumed only by the same job.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from cxredge.artifacts.atomic import atomic_file
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.inference.row_formats import Values, check_output, columns_of, write_table
from cxredge.inference.rows import PredictionRow

_ROWS_VERSION = 2
"""Raised when the values of a row change, so that a partial file of another version is refused."""


class RowWriter:
    """Appends rows to a partial file, and writes the final file from it.

    Args:
        path: The file; its extension selects the format.
        classes: Class names, for the columns ``p_<class>``.
        job: Identifies the bundle and the inputs; a partial file of another job is refused.
        resume: Continue a partial file if one exists.
        batch: Number of rows per batch. Rows are resumed after a whole batch, because a runtime
            may compute other last digits for an image in a different batch.

    Attributes:
        path: The file.
        rows: Number of rows written.

    Raises:
        CxredgeError: Unknown format, the partial file belongs to another job, or another process
            is writing it.
        ModuleNotFoundError: Parquet's library is not installed.
    """

    def __init__(
        self,
        path: Path,
        classes: Sequence[str],
        job: Mapping[str, Any],
        resume: bool,
        batch: int = 1,
    ) -> None:
        check_output(path)
        self.path = path
        self._classes = tuple(classes)
        self._partial = path.with_name(f".{path.name}.partial")
        head = {"job": dict(job), "classes": list(classes), "rows": _ROWS_VERSION}
        self._head = json.dumps(head, sort_keys=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Unbuffered: what a full disk did not accept must not be written again on closing.
        self._stream = self._partial.open("ab", buffering=0)
        try:
            _lock(self._stream, self._partial)
            self.rows = self._continue(batch) if resume and self.size_bytes else self._begin()
        except BaseException:
            self._stream.close()
            raise

    @property
    def size_bytes(self) -> int:
        """Size of the rows so far."""
        return os.fstat(self._stream.fileno()).st_size

    def append(self, rows: Sequence[PredictionRow]) -> None:
        """Append rows; they survive a crash of the process.

        Raises:
            OSError: The disk is full; none of these rows is kept.
        """
        lines = b"".join(_to_line(row) for row in rows)
        size_before = self.size_bytes
        try:
            while lines:
                lines = lines[self._stream.write(lines) :]
        except OSError:
            self._stream.truncate(size_before)
            raise
        self.rows += len(rows)

    def paths(self) -> Iterator[str]:
        """Yield the paths of the rows so far."""
        return (str(row["path"]) for row in self._read())

    def finish(self) -> None:
        """Write the final file from all rows and remove the partial one."""
        with atomic_file(self.path) as temporary:
            write_table(temporary, self.path.suffix, self._classes, self._read())
        # Unlinked before it is closed, and so unlocked: no other process can take it in between.
        self._partial.unlink()
        self._stream.close()

    def close(self) -> None:
        """Keep the rows so far for a later run; without any, remove the partial file."""
        if not self.rows:
            self._partial.unlink(missing_ok=True)
        self._stream.close()

    def __enter__(self) -> RowWriter:
        """Return the writer."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the writer."""
        self.close()

    def _begin(self) -> int:
        self._partial.write_text(self._head + "\n", encoding="utf-8")
        return 0

    def _continue(self, batch: int) -> int:
        """Truncate the partial file after its last whole batch; return the number of rows."""
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

    def _read(self) -> Iterator[Values]:
        with self._partial.open(encoding="utf-8", errors="surrogateescape") as stream:
            next(stream)
            for line in stream:
                yield columns_of(self._classes, json.loads(line))


def _lock(stream: BinaryIO, path: Path) -> None:
    """Lock a file until it is closed, so that two predictions cannot write to the same one."""
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


def _to_line(row: PredictionRow) -> bytes:
    codes = ", ".join(code.value for code in row.caution_codes)
    remark = f"Predicted, but doubtful: {codes}." if codes else row.error
    probabilities = list(row.probabilities.values())
    values = (
        *(row.path, row.status, row.label, row.probability, probabilities),
        *(row.decided_by, row.margin, row.above_threshold if row.label else None, remark),
    )
    return (json.dumps(values) + "\n").encode()
