"""Files are opened for reading only if they are regular: a pipe or a device may never end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from cxredge.errors import ArtifactError

# Without waiting for the other end of a pipe that took the file's place after the check, and
# without making a terminal the process's own. 0 where the system has no such flag.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


class NotRegularError(OSError):
    """A path leads to a pipe, a device or a socket."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        OSError: It cannot be opened, or is a folder.
        NotRegularError: It is a pipe, a device or a socket. Nothing was opened.
    """
    _check(path, path.stat().st_mode)
    # Not os.open and os.fdopen: after a signal between the two it is not known which one to close,
    # the descriptor or the stream.
    stream = open(path, "rb", opener=lambda name, flags: os.open(name, flags | _FLAGS))  # noqa: SIM115
    try:
        _check(path, os.fstat(stream.fileno()).st_mode)
    except BaseException:
        stream.close()
        raise
    return stream


def read_regular(path: Path, max_bytes: int, remedy: str) -> bytes:
    """Return the content of a regular file of an artifact.

    Args:
        path: The file.
        max_bytes: Maximum size.
        remedy: Hint for the user if it cannot be read, as a sentence.

    Raises:
        ArtifactError: It is not a regular file, is larger, or cannot be read.
        FileNotFoundError: It does not exist.
    """
    try:
        with open_regular(path) as stream:
            size_bytes = os.fstat(stream.fileno()).st_size
            # One byte more than allowed: the file may grow, and files of /proc have no size.
            content = stream.read(max_bytes + 1) if size_bytes <= max_bytes else b""
    except FileNotFoundError:
        raise
    except NotRegularError as error:
        raise ArtifactError(f"{error}.", remedy) from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.", remedy) from None
    if size_bytes > max_bytes or len(content) > max_bytes:
        raise ArtifactError(
            f"{path} has {max(size_bytes, len(content)) / 1e6:.0f} MB; at most "
            f"{max_bytes / 1e6:.0f} MB are read.",
            remedy,
        )
    return content


def _check(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise NotRegularError(f"{path} is not a regular file, but a {_kind(mode)}")


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "pipe"
    return "socket" if stat.S_ISSOCK(mode) else "device"
