"""Room on a disk: asked for before anything is written, and put in words where it runs out."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxredge.errors import CxredgeError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a system calls a disk, a quota or a file that takes no more."""
_NOT_ALLOWED = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def writing(folder: Path, size_bytes: int, what: str) -> Iterator[None]:
    """Write something into a folder while the block runs.

    Args:
        folder: Where; it need not be there yet.
        size_bytes: How much is about to be written, at most.
        what: Its name in messages.

    Raises:
        CxredgeError: There is too little room, before or in the middle, or nothing may be written
            there.
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
                f"{folder} cannot be written to ({error.strerror}); {what} was to go there.",
                "Name a folder that can be, with --out.",
            ) from None
        raise


def _no_room(folder: Path, size_bytes: int, free_bytes: int, what: str) -> CxredgeError:
    return CxredgeError(
        f"There is no room for {what}: it needs up to {amount(size_bytes)}, and "
        f"{amount(free_bytes)} are free in {folder}.",
        "Free some, or name a folder on another disk with --out.",
    )


def amount(size_bytes: float) -> str:
    """Return a size in words."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:.1f} kB"


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
