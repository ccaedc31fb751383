"""The predictions file: one row per input, kept as it grows, complete when it appears.

Rows are appended to ``.NAME.partial`` beside the file, and the file appears when the last row is
written. The first line of the partial file identifies the bundle and the inputs, so that an
interrupted prediction is resumed only by the same job.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cxredge.artifacts.atomic import atomic_file
from cxredge.errors import ArtifactError
from cxredge.inference.answers import OK, PredictionRow
from cxredge.inference.partial_file import open_partial
from cxredge.inference.row_formats import Values, check_output, columns_of, write_table

_ROWS_VERSION = 3
"""Raised when the values of a row change, so that a partial file of another version is refused."""

_MAX_HEAD_BYTES = 2**16
_DOUBTFUL = "Predicted, but doubtful: "
_JOB_WORDS = {
    "card": "the bundle",
    "engine": "the bundle's model or engine",
    "precision": "the precision",
    "inputs": "the paths given",
    "any_view": "--any-view",
    "answer_all": "--answer-all",
    "heatmaps": "--heatmaps",
    "shard_rows": "--engine",
    "finish": "--finish",
}


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
        CxredgeError: Unknown format, the folder does not exist, the partial file belongs to another
            job or is not a regular file, or another process is writing it.
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
        self._partial = partial_of(path)
        self._head = head_of(job, classes)
        self._stream = open_partial(self._partial)
        try:
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
        lines = b"".join(line_of(row) for row in rows)
        size_before = self.size_bytes
        try:
            while lines:
                lines = lines[self._stream.write(lines) :]
        except OSError:
            self._stream.truncate(size_before)
            raise
        self.rows += len(rows)

    def kept(self) -> Iterator[Values]:
        """Yield the rows so far.

        Raises:
            ArtifactError: A row is damaged.
        """
        return self._read()

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
        self._stream.truncate(0)
        self._stream.write((self._head + "\n").encode())
        return 0

    def _continue(self, batch: int) -> int:
        """Truncate the partial file after its last whole batch; return the number of rows."""
        expected = (self._head + "\n").encode()
        with self._from_start() as stream:
            head = stream.readline(max(len(expected), _MAX_HEAD_BYTES))
            if head != expected:
                if expected.startswith(head):
                    return self._begin()
                raise other_job(self._partial, head, expected)
            whole = end = stream.tell()
            kept = 0
            for number, line in enumerate(stream, start=1):
                if not line.endswith(b"\n"):
                    break
                end += len(line)
                if number % batch == 0:
                    whole, kept = end, number
        self._stream.truncate(whole)
        return kept

    def _read(self) -> Iterator[Values]:
        with self._from_start() as stream:
            next(stream)
            for number, line in enumerate(stream, start=1):
                yield values_in(line, self._classes, f"Row {number} of {self._partial}")

    def _from_start(self) -> io.BufferedReader:
        """Return a reader of the file that is open, even if another file has its name now."""
        self._stream.seek(0)
        return os.fdopen(os.dup(self._stream.fileno()), "rb")


def partial_of(path: Path) -> Path:
    """Return the partial file of a predictions file."""
    return path.with_name(f".{path.name}.partial")


def head_of(job: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Return the first line of a partial file, which identifies the job."""
    head = {"job": dict(job), "classes": list(classes), "rows": _ROWS_VERSION}
    return json.dumps(head, sort_keys=True)


def other_job(partial: Path, head: bytes, expected: bytes) -> ArtifactError:
    """Return the error for rows of another job.

    Args:
        partial: The partial file.
        head: Its first line.
        expected: The first line of this job.
    """
    return ArtifactError(
        f"{partial} was begun with another bundle or other inputs{_differences(head, expected)}.",
        "Predict without --resume to start over.",
    )


def _differences(head: bytes, expected: bytes) -> str:
    """Return what differs between the first lines of two partial files, in words."""
    try:
        one, two = (json.loads(line) for line in (head, expected))
        names = sorted({*one["job"], *two["job"]})
        found = [name for name in names if one["job"].get(name) != two["job"].get(name)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""
    words = ", ".join(_JOB_WORDS.get(name, name) for name in found)
    return f" (what differs: {words})" if words else ""


def row_values(row: PredictionRow) -> tuple[Any, ...]:
    """Return the values of a row as :func:`~cxredge.inference.row_formats.columns_of` takes them.

    The column ``error`` holds the cautions of a row with a prediction; in a row without one, the
    reason, and the cautions in sentences.
    """
    codes = ", ".join(code.value for code in row.caution_codes)
    is_doubtful = row.status == OK and codes
    remark = f"{_DOUBTFUL}{codes}." if is_doubtful else " ".join([row.error, *row.cautions])
    probabilities = list(row.probabilities.values())
    return (
        *(row.path, row.status, row.label, row.probability, probabilities),
        *(row.prediction_set if row.label else None, row.familiarity, row.decided_by, row.margin),
        *(row.above_threshold if row.label else None, remark),
    )


def line_of(row: PredictionRow) -> bytes:
    """Return a row as a line of a partial file, which :func:`values_in` reads."""
    return (json.dumps(row_values(row)) + "\n").encode()


def values_in(line: bytes, classes: Sequence[str], shown: str) -> Values:
    """Return the values of a line.

    Args:
        line: See :func:`line_of`.
        classes: Class names.
        shown: Which row of which file it is, for messages.

    Raises:
        ArtifactError: It is damaged.
    """
    try:
        return columns_of(classes, json.loads(line))
    except (ValueError, TypeError, LookupError, RecursionError):
        raise ArtifactError(
            f"{shown} is damaged.", "Predict without --resume to start over."
        ) from None


def cautions_in(remark: str) -> list[str]:
    """Return the cautions that the column ``error`` of a row names."""
    if not remark.startswith(_DOUBTFUL):
        return []
    return remark.removeprefix(_DOUBTFUL).removesuffix(".").split(", ")
