"""Progress reports of stages, independent of the listener."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]
"""Callback for the number of items finished since the last call."""


class Progress(Protocol):
    """Progress listener; the command line draws bars, library users pass :class:`Silent`."""

    def task(self, description: str, total: int | None) -> AbstractContextManager[Advance]:
        """Start a task.

        Args:
            description: Description of the task.
            total: Number of items; None if unknown.
        """
        ...

    def note(self, message: str) -> None:
        """Report a message about the work."""
        ...


class Silent:
    """Progress listener that ignores all reports."""

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Advance]:
        """Start a task without reporting it."""
        yield lambda _: None

    def note(self, message: str) -> None:
        """Ignore the message."""
