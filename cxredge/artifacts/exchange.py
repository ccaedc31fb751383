"""Replacement of a folder by another, so that one of both is always there and whole."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

from cxredge.artifacts.file_lock import OWN_FOLDER, lock
from cxredge.artifacts.temporary import OLD

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def put_folder(new: Path, path: Path) -> None:
    """Move a folder to ``path``; a folder that was there is then at ``new``, or gone.

    Args:
        new: The folder, flushed to disk, beside ``path``.
        path: Its destination: nothing, or a folder.
    """
    if not path.exists() or not any(path.iterdir()):
        new.replace(path)  # also replaces an empty folder, in one step
    elif not _exchange(new, path):
        _replace_in_two_steps(new, path)
    sync_folder(path.parent)


def sync_tree(folder: Path) -> None:
    """Flush all files and folders in a folder to disk."""
    for where, _folders, files in os.walk(folder):
        for name in files:
            sync_file(Path(where, name))
        sync_folder(Path(where))


def sync_file(path: Path) -> None:
    """Flush a file to disk."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def sync_folder(path: Path) -> None:
    """Flush the names in a folder to disk, if the file system supports that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, OWN_FOLDER)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two folders in one step; return whether system and file system could (Linux)."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    rename.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    a, b = os.fsencode(first), os.fsencode(second)
    return int(rename(_AT_FDCWD, a, _AT_FDCWD, b, _RENAME_EXCHANGE)) == 0


def _replace_in_two_steps(new: Path, path: Path) -> None:
    """Move the old folder away and the new one in; put the old one back if that fails.

    After a crash in between, :func:`~cxredge.artifacts.temporary.sweep` puts it back.
    """
    old = new.with_suffix(OLD)
    descriptor = os.open(path, OWN_FOLDER)
    try:
        lock(descriptor)
        path.rename(old)
        new.rename(path)
        old.rename(new)
    except BaseException:
        if old.exists():
            old.rename(new if path.exists() else path)
        raise
    finally:
        os.close(descriptor)
