"""Disk space: checked before writing, and reported clearly when it runs out."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxredge.errors import CxredgeError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a full disk, an exhausted quota or a file that is too large."""
_NOT_ALLOWED = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def writing(folder: Path, size_bytes: int, what: str) -> Iterator[None]:
    """Check disk space before the block, and translate write errors inside it.

    Args:
        folder: Folder to write to; it may not exist yet.
        size_bytes: Maximum size of what will be written.
        what: Name of what is written, for messages.

    Raises:
        CxredgeError: The disk is or becomes full, or the folder cannot be written to.
    """
    free_bytes = shutil.disk_usage(_existing(folder)).free
    if free_bytes < size_bytes:
        raise _no_room(folder, size_bytes, free_bytes, what)
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            free_bytes = shutil.disk_usage(_existing(folder)).free
            raise _no_room(folder, size_bytes, free_bytes, what) from None
        if error.errno in _NOT_ALLOWED:
            raise CxredgeError(
                f"Failed to write {what}: {folder} is not writable ({error.strerror}).",
                "Choose a writable folder with --out.",
            ) from None
        raise


def _no_room(folder: Path, size_bytes: int, free_bytes: int, what: str) -> CxredgeError:
    return CxredgeError(
        f"There is no room for {what}: it needs up to {amount(size_bytes)}, and "
        f"{amount(free_bytes)} are free in {folder}.",
        "Free some space, or choose a folder on another disk with --out.",
    )


def amount(size_bytes: float) -> str:
    """Return a size with its unit."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"


def _existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
