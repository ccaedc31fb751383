"""What a data set leaves out: every file with the reason, beside the manifest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from cxredge.artifacts.atomic import atomic_file
from cxredge.artifacts.csv_text import csv_line
from cxredge.artifacts.disk_space import writing
from cxredge.data.manifest import path_beside
from cxredge.data.sources import ImageSource

LEFT_OUT_NAME = "left_out.csv"
_COLUMNS = ("path", "reason")


class LeftOut(Counter[str]):
    """Number of files that were left out by reason, and the files themselves.

    Attributes:
        files: Each file and its reason, in the order in which they were found.
    """

    def __init__(self) -> None:
        super().__init__()
        self.files: list[tuple[ImageSource, str]] = []

    def leave(self, source: ImageSource, reason: str) -> None:
        """Add one file."""
        self[reason] += 1
        self.files.append((source, reason))

    def join(self, *others: LeftOut) -> LeftOut:
        """Return the files of this list and of others."""
        joined = LeftOut()
        for part in (self, *others):
            for source, reason in part.files:
                joined.leave(source, reason)
        return joined


def write_left_out(folder: Path, left_out: LeftOut) -> Path:
    """Write ``left_out.csv`` (path, reason) and return its path.

    The paths in it are as in the manifest beside it.
    """
    lines = [csv_line(_COLUMNS)]
    for source, reason in left_out.files:
        path = source if isinstance(source, Path) else source.archive / source.name
        lines.append(csv_line((path_beside(path, folder), reason)))
    content = "".join(lines).encode("utf-8", "surrogateescape")
    target = folder / LEFT_OUT_NAME
    with writing(folder, len(content), target.name), atomic_file(target) as temporary:
        temporary.write_bytes(content)
    return target
