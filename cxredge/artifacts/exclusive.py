"""One process at a time writes an output."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from cxredge.artifacts.disk_space import writing
from cxredge.artifacts.file_lock import OWN_FILE, OWN_FOLDER, Locked, is_at, lock
from cxredge.artifacts.interruption import uninterrupted
from cxredge.artifacts.temporary import sweep
from cxredge.errors import ArtifactError

_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


@uninterrupted
def exclusive(path: Path) -> Iterator[None]:
    """Keep other processes from writing ``path`` during the block.

    The lock is that of the file ``.NAME.lock`` beside ``path``, which is removed at the end. It
    ends with the process, so a file that a killed process left does not matter. What such a process
    left of ``path`` is removed first. Folders above ``path`` are created, and removed at the end if
    they are empty then.

    Raises:
        ArtifactError: Another process is writing ``path``.
        CxredgeError: The folder above it cannot be written to, or the disk is full.
    """
    output = Path(os.path.realpath(path))
    with _parents_of(output), _locked(output):
        sweep(output)
        yield


@uninterrupted
def _locked(output: Path) -> Iterator[None]:
    place = output.with_name(f".{output.name}.lock")
    try:
        descriptor = _lock(output, place)
    except BaseException:
        _discard(place)  # a signal may come before the descriptor is known
        raise
    try:
        with contextlib.suppress(OSError):  # a folder, or a full disk
            os.pwrite(descriptor, f"{os.getpid():<20d}\n".encode(), 0)
        yield
    finally:
        # Removed before it is closed, and so unlocked: no other process can lock it in between.
        try:
            if is_at(descriptor, place):
                place.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _lock(output: Path, place: Path) -> int:
    """Return the descriptor of the locked file.

    Raises:
        ArtifactError: Another process holds the lock.
    """
    while True:
        descriptor = _open(output, place)
        if lock(descriptor) is Locked.BY_ANOTHER:
            owner = _owner(descriptor)
            os.close(descriptor)
            raise ArtifactError(
                f"Another process{owner} is writing {output}.",
                "Wait for it, or choose another --out.",
            )
        if is_at(descriptor, place) or is_at(descriptor, output):
            return descriptor
        os.close(descriptor)  # its owner removed it in between


def _discard(place: Path) -> None:
    """Remove the lock file unless a process holds it."""
    try:
        descriptor = os.open(place, OWN_FILE)
    except OSError:
        return
    try:
        if lock(descriptor) is Locked.YES and is_at(descriptor, place):
            place.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _open(output: Path, place: Path) -> int:
    """Open the file to lock; the output itself if it is a folder in one that is not writable."""
    with writing(output.parent, 0, output.name):
        try:
            return os.open(place, OWN_FILE | os.O_CREAT, 0o666)
        except OSError as error:
            if error.errno in _NOT_WRITABLE and output.is_dir():
                return os.open(output, OWN_FOLDER)
            raise


def _owner(descriptor: int) -> str:
    try:
        number = os.pread(descriptor, 32, 0).decode().strip()
    except (OSError, ValueError):
        return ""
    return f" ({number})" if number.isdigit() else ""


@uninterrupted
def _parents_of(output: Path) -> Iterator[None]:
    """Create the folders above a path; remove those that are empty after the block."""
    missing = [folder for folder in output.parents if not folder.exists()]
    try:
        with writing(output.parent, 0, output.name):
            output.parent.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
