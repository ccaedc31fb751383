"""Lists of images: a file with one path or address per line, for archives too large to walk."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cxredge.artifacts.hashing import sha256_of_file
from cxredge.artifacts.interruption import uninterrupted
from cxredge.artifacts.regular_file import NotRegularError, open_regular
from cxredge.artifacts.temporary import scratch_folder
from cxredge.data.remote import RemoteFile, is_url
from cxredge.errors import DataError

STDIN = Path("-")
_MAX_LINE_BYTES = 2**16
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class PathList:
    """A file that names one image per line. It is streamed: memory does not grow with it.

    Attributes:
        file: The file.
        base: Folder of relative paths.
        shown: Name of the list in messages.
    """

    file: Path
    base: Path
    shown: str

    def __str__(self) -> str:
        return self.shown

    def sha256(self) -> str:
        """Return the SHA-256 of the file."""
        return sha256_of_file(self.file)

    def images(self) -> Iterator[Path | RemoteFile]:
        """Yield the image of each line, in order; blank lines are skipped.

        Raises:
            DataError: A line is too long to be a path.
        """
        with open_regular(self.file) as stream:
            for line in _lines(stream, self.shown):
                text = line.decode("utf-8", "surrogateescape")
                yield RemoteFile(text) if is_url(text) else self.base / text


@uninterrupted
def reading_list(file: Path) -> Iterator[PathList]:
    """Yield a list of images; ``-`` is standard input, which is copied to a temporary file.

    Args:
        file: The list. Relative paths in it begin at its folder; those of standard input at the
            current folder.

    Raises:
        DataError: It is not a regular file that can be read, or names no image.
    """
    if file == STDIN:
        with scratch_folder("paths") as folder:
            copy = folder / "paths.txt"
            with copy.open("wb") as stream:
                shutil.copyfileobj(sys.stdin.buffer, stream)
            yield _checked(PathList(copy, Path(), "the list on standard input"))
    else:
        yield _checked(PathList(file, file.parent, str(file)))


def _checked(listed: PathList) -> PathList:
    hint = "Give a text file with one image per line, or - for standard input."
    try:
        first = next(listed.images(), None)
    except NotRegularError as error:
        raise DataError(f"{error}.", hint) from None
    except OSError as error:
        raise DataError(f"{listed} cannot be read: {error.strerror}.", hint) from None
    if first is None:
        raise DataError(f"{listed} names no image.", hint)
    return listed


def _lines(stream: BinaryIO, shown: str) -> Iterator[bytes]:
    """Yield the lines without their ends, blank ones left out."""
    number = 0
    while line := stream.readline(_MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > _MAX_LINE_BYTES:
            raise DataError(
                f"Line {number} of {shown} has more than {_MAX_LINE_BYTES} bytes.",
                "Give one path per line.",
            )
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        line = line.rstrip(b"\r\n")
        if line.strip():
            yield line
