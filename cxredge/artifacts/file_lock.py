"""Locks of files and folders that end with their process, however it ends (``flock``)."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path

OWN_FILE = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
"""Flags to open a file for locking; network file systems require that it can be written."""
OWN_FOLDER = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_DIRECTORY", 0)


class Locked(Enum):
    """Result of an attempt to lock a file."""

    YES = "yes"
    BY_ANOTHER = "by another"
    NOT_SUPPORTED = "not supported"


def lock(descriptor: int) -> Locked:
    """Lock an open file or folder until it is closed, without waiting."""
    try:
        import fcntl
    except ImportError:  # not a Unix
        return Locked.NOT_SUPPORTED
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Locked.BY_ANOTHER
    except OSError:  # a file system without locks
        return Locked.NOT_SUPPORTED
    return Locked.YES


def is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file is the one at a path: not removed, and not replaced."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False
