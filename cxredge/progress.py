"""How a stage tells that it is getting on, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[[int], None]
"""Called with the number of items just finished."""


class Progress(Protocol):
    """A listener; the command line draws bars, tests and libraries use :class:`Silent`."""

    def task(self, description: str, total: int | None) -> AbstractContextManager[Advance]:
        """Begin a task of ``total`` items (None when unknown)."""
        ...

    def note(self, message: str) -> None:
        """Say something about the work that a person may want to know."""
        ...


class Silent:
    """Nobody listens."""

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Advance]:
        """Begin a task that nobody follows."""
        yield lambda _: None

    def note(self, message: str) -> None:
        """Say nothing."""
