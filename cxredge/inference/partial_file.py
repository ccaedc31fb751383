"""The file that holds the rows so far: opened without following links, and locked."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

from cxredge.artifacts.file_lock import Locked, is_at, lock
from cxredge.errors import CxredgeError

_FLAGS = (
    os.O_RDWR
    | os.O_APPEND
    | os.O_CREAT
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_NOT_A_FILE = (errno.ELOOP, errno.EISDIR, errno.ENXIO)


def open_partial(path: Path) -> io.FileIO:
    """Open or create a partial file for reading and appending, and lock it until it is closed.

    Unbuffered: what a full disk did not accept must not be written again on closing.

    Raises:
        CxredgeError: The path is a link, a pipe or anything but a file with a single name; or
            another process is writing it.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise _not_ours(path)
    try:
        handle = os.open(path, _FLAGS, 0o666)
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            raise _not_ours(path) from None
        raise
    stream = os.fdopen(handle, "rb+", buffering=0)
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise _not_ours(path)
        _lock(handle, path)
    except BaseException:
        stream.close()
        raise
    return stream


def _not_ours(path: Path) -> CxredgeError:
    return CxredgeError(
        f"{path} is a link or no regular file; rows are kept there until the last one is written.",
        "Remove it, or use another --out.",
    )


def _lock(handle: int, path: Path) -> None:
    """Lock a file until it is closed, so that two predictions cannot write to the same one."""
    locked = lock(handle)
    was_removed = locked is Locked.YES and not is_at(handle, path)
    if locked is Locked.BY_ANOTHER or was_removed:
        raise CxredgeError(
            f"Another prediction is writing {path}.", "Wait for it, or use another --out."
        )
