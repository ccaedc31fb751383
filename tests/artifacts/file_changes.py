"""Stops a process, in tests, before one of the changes that it makes below a folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.link", "os.truncate")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Changes:
    """Counts the changes below a folder, and calls a function before one of them.

    Attributes:
        root: Changes below this folder, by absolute paths, are counted; None counts none.
        stop_at: Number of the change, 1 or more; 0 for none.
        stop: The function.
        count: Changes so far.
    """

    def __init__(self) -> None:
        self.root: str | None = None
        self.stop_at = self.count = 0
        self.stop: Callable[[], None] = lambda: None
        sys.addaudithook(self._hear)  # for good: Python cannot remove it

    @contextmanager
    def watched(self, root: Path, stop_at: int, stop: Callable[[], None]) -> Iterator[None]:
        self.root, self.stop_at, self.stop, self.count = str(root), stop_at, stop, 0
        try:
            yield
        finally:
            self.root = None

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.root is None or not _is_change(event, arguments):
            return
        if not os.fsdecode(arguments[0]).startswith(self.root):
            return
        self.count += 1
        if self.count == self.stop_at:
            self.stop()


def _is_change(event: str, arguments: tuple[Any, ...]) -> bool:
    if not arguments or not isinstance(arguments[0], (str, bytes, os.PathLike)):
        return False
    return event in _CHANGES or (event == "open" and bool(arguments[2] & _WRITES))
