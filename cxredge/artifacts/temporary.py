"""Temporary files and folders of an output, and their removal after a crash.

``out/model`` is written as ``out/.model.RANDOM.partial``, and then renamed. The process that writes
it holds a lock on it, so one that is not locked was left by a process that has ended. The next
process that writes the same output removes it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cxredge.artifacts.disk_space import FULL, amount
from cxredge.artifacts.file_lock import OWN_FILE, OWN_FOLDER, Locked, is_at, lock
from cxredge.artifacts.interruption import uninterrupted
from cxredge.errors import CxredgeError

PARTIAL = ".partial"
OLD = ".old"
"""Suffix of a folder that is being replaced, on file systems that cannot exchange two folders."""
_RANDOM = "[a-z0-9_]{8}"
_ATTEMPTS = 100


@uninterrupted
def temporary_file(path: Path) -> Iterator[Path]:
    """Yield an empty file beside ``path``; remove it after the block unless it was moved."""
    with _temporary(path, is_folder=False) as temporary:
        yield temporary


@uninterrupted
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path``; remove it after the block unless it was moved."""
    with _temporary(path, is_folder=True) as temporary:
        yield temporary


@uninterrupted
def scratch_folder(purpose: str) -> Iterator[Path]:
    """Yield an empty folder in the system's folder for temporary files; remove it afterwards.

    Raises:
        CxredgeError: The disk is full.
    """
    place = _scratch(purpose)
    try:
        with temporary_folder(place) as folder:
            yield folder
    except OSError as error:
        if error.errno not in FULL:
            raise
        free = amount(shutil.disk_usage(place.parent).free)
        raise CxredgeError(
            f"There is no room for temporary files in {place.parent} ({error.strerror}); {free} "
            "are free.",
            "Free some space, or set TMPDIR to a folder on another disk.",
        ) from None


def sweep_scratch(purpose: str) -> None:
    """Remove the scratch folders that killed processes left, for work that needs none itself."""
    sweep(_scratch(purpose))


def _scratch(purpose: str) -> Path:
    return Path(tempfile.gettempdir()) / f"cxredge-{purpose}"


def sweep(path: Path) -> None:
    """Remove the temporary files of ``path`` that processes left when they were killed.

    A folder that was moved away to be replaced is put back if nothing replaced it.
    """
    ours = re.compile(rf"\.{re.escape(path.name)}\.{_RANDOM}({re.escape(PARTIAL)}|{OLD})")
    try:
        found = [entry for entry in path.parent.iterdir() if ours.fullmatch(entry.name)]
    except OSError:  # no folder, or one that cannot be listed
        return
    for leftover in found:
        with _abandoned(leftover) as abandoned:
            if abandoned and leftover.suffix == OLD and not os.path.lexists(path):
                leftover.rename(path)
            elif abandoned:
                _remove(leftover)


@uninterrupted
def _temporary(path: Path, *, is_folder: bool) -> Iterator[Path]:
    sweep(path)
    temporary, descriptor = _create(path, is_folder=is_folder)
    try:
        yield temporary
    finally:
        try:
            _remove(temporary)
        finally:
            os.close(descriptor)


def _create(path: Path, *, is_folder: bool) -> tuple[Path, int]:
    """Create and lock a temporary file or folder; return its path and its descriptor."""
    prefix = f".{path.name}."
    for _ in range(_ATTEMPTS):
        if is_folder:
            name = tempfile.mkdtemp(PARTIAL, prefix, path.parent)
            descriptor = os.open(name, OWN_FOLDER)
        else:
            descriptor, name = tempfile.mkstemp(PARTIAL, prefix, path.parent)
        # Another process may have removed it before it was locked.
        if lock(descriptor) is not Locked.BY_ANOTHER and is_at(descriptor, Path(name)):
            return Path(name), descriptor
        os.close(descriptor)
    raise FileExistsError(f"Other processes removed {_ATTEMPTS} temporary files of {path}.")


@uninterrupted
def _abandoned(path: Path) -> Iterator[bool]:
    """Yield whether a file or folder belongs to this user and to no process; keep it locked."""
    try:
        found = path.lstat()
        flags = OWN_FOLDER if stat.S_ISDIR(found.st_mode) else OWN_FILE
        descriptor = os.open(path, flags)
    except OSError:
        yield False
        return
    try:
        is_plain = stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)
        is_own = is_plain and found.st_uid == os.geteuid()
        yield is_own and lock(descriptor) is Locked.YES and is_at(descriptor, path)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
