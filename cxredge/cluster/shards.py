"""Finished shards of a prediction: files that appear whole, by the number of their first row.

``.NAME.shards`` beside the predictions file holds ``part-<first row>.jsonl``. The partial file of
the predictions, ``.NAME.partial``, identifies the job, and its lock keeps other predictions away
from both. Rows are lines as in a partial file, not Parquet: these hold names that are not UTF-8,
and the numbers as the worker wrote them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cxredge.artifacts.atomic import atomic_file
from cxredge.artifacts.exchange import sync_folder
from cxredge.artifacts.regular_file import open_regular
from cxredge.cluster.identity import sha256_of_names
from cxredge.cluster.job import Shard
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.inference.partial_file import open_partial
from cxredge.inference.predictions_file import head_of, other_job, partial_of, values_in
from cxredge.inference.row_formats import Values, check_output, write_table

_MAX_HEAD_BYTES = 2**16
_START_OVER = "Predict without --resume to start over."


class ShardFolder:
    """Commits shards, and writes the predictions file from them.

    Args:
        path: The predictions file.
        classes: Class names, for the columns ``p_<class>``.
        job: Identifies the bundle and the inputs; shards of another job are refused.
        resume: Keep the shards of an interrupted run.

    Attributes:
        path: The predictions file.

    Raises:
        CxredgeError: The shards belong to another job, or another process is writing them.
    """

    def __init__(
        self, path: Path, classes: Sequence[str], job: Mapping[str, Any], resume: bool
    ) -> None:
        check_output(path)
        self.path, self._classes = path, tuple(classes)
        self._folder, self._partial = folder_of(path), partial_of(path)
        self._stream = open_partial(self._partial)
        try:
            self._begin((head_of(job, classes) + "\n").encode(), resume)
        except BaseException:
            self._stream.close()
            raise

    def has(self, shard: Shard) -> bool:
        """Return whether the rows of a shard are there.

        Raises:
            CxredgeError: They are those of other images.
        """
        try:
            head = self._head(shard.first)
        except FileNotFoundError:
            return False
        if head != _head_of(shard):
            raise CxredgeError(
                f"The inputs have changed since the interruption: {self._at(shard.first)} is not "
                f"of the {len(shard.sources)} images from {shard.sources[0]} on.",
                _START_OVER,
            )
        return True

    def commit(self, shard: Shard, lines: bytes) -> None:
        """Write the rows of a shard; its name appears when they are on the disk.

        Raises:
            ArtifactError: There is not one row per image.
            OSError: The disk is full.
        """
        rows = lines.count(b"\n")
        if rows != len(shard.sources):
            raise ArtifactError(
                f"A worker returned {rows} rows for {len(shard.sources)} images.",
                "This is a bug in cxredge. Report it.",
            )
        temporary = self._folder / ".part"
        with temporary.open("wb") as stream:
            stream.write(json.dumps(_head_of(shard)).encode() + b"\n" + lines)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(self._at(shard.first))

    def finish(self, rows: int, shard_rows: int, count: Callable[[Values], None]) -> None:
        """Write the final file from all shards in input order, and remove them.

        Args:
            rows: Number of rows.
            shard_rows: Number of rows of each shard but the last.
            count: Called with each row.

        Raises:
            ArtifactError: A shard is missing, damaged, or one too many.
        """
        sync_folder(self._folder)
        with atomic_file(self.path) as temporary:
            kept = self._rows(rows, shard_rows, count)
            write_table(temporary, self.path.suffix, self._classes, kept)
        # Unlinked before it is closed, and so unlocked: no other process can take it in between.
        self._partial.unlink()
        self._stream.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """Keep the shards for a later run; without any, remove the folder and the partial file."""
        if not self._stream.closed and not any(self._folder.glob("part-*")):
            shutil.rmtree(self._folder, ignore_errors=True)
            self._partial.unlink(missing_ok=True)
        self._stream.close()

    def __enter__(self) -> ShardFolder:
        """Return the folder."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the folder."""
        self.close()

    def _begin(self, expected: bytes, resume: bool) -> None:
        self._stream.seek(0)
        found = self._stream.read(_MAX_HEAD_BYTES) if resume else b""
        if found and found != expected and not expected.startswith(found):
            raise other_job(self._partial, found.split(b"\n")[0], expected)
        if found != expected:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._stream.truncate(0)
            self._stream.write(expected)
        if self._folder.is_symlink():
            raise ArtifactError(
                f"{self._folder} is a link; shards are kept there.",
                "Remove it, or use another --out.",
            )
        self._folder.mkdir(exist_ok=True)

    def _at(self, first: int) -> Path:
        return self._folder / f"part-{first:012d}.jsonl"

    def _head(self, first: int) -> Any:
        with open_regular(self._at(first)) as stream:
            line = stream.readline(_MAX_HEAD_BYTES)
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            raise self._damaged(first) from None

    def _rows(
        self, rows: int, shard_rows: int, count: Callable[[Values], None]
    ) -> Iterator[Values]:
        shards = range(0, rows, shard_rows)
        found = sum(1 for _ in self._folder.glob("part-*"))
        if found != len(shards):
            raise CxredgeError(
                f"{self._folder} has {found} shards; expected {len(shards)} for {rows} images.",
                _START_OVER,
            )
        for first in shards:
            yield from self._rows_of(first, min(shard_rows, rows - first), count)

    def _rows_of(self, first: int, rows: int, count: Callable[[Values], None]) -> Iterator[Values]:
        number = 0
        with open_regular(self._at(first)) as stream:
            next(stream, None)
            for number, line in enumerate(stream, start=1):
                if not line.endswith(b"\n"):
                    raise self._damaged(first)
                row = values_in(line, self._classes, f"Row {number} of {self._at(first)}")
                count(row)
                yield row
        if number != rows:
            raise self._damaged(first)

    def _damaged(self, first: int) -> ArtifactError:
        return ArtifactError(
            f"{self._at(first)} is damaged.", "Remove it and repeat with --resume."
        )


def folder_of(path: Path) -> Path:
    """Return the folder of the shards of a predictions file."""
    return path.with_name(f".{path.name}.shards")


def _head_of(shard: Shard) -> dict[str, Any]:
    names = sha256_of_names(shard.sources)
    return {"first": shard.first, "rows": len(shard.sources), "names_sha256": names}
