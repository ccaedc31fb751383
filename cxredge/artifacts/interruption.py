"""Contexts that a signal does not interrupt while they are entered or left.

Python raises the exception of a signal after any call: also when a file has been created and its
name is not known yet, or before the first line of the code that removes it.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType, TracebackType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class _State(threading.local):
    """State of a thread; Python handles signals in the main thread.

    Attributes:
        depth: Number of contexts that are being entered or left, each inside the one before.
        postponed: Exception of a signal that came meanwhile.
    """

    depth = 0
    postponed: BaseException | None = None


_state = _State()


def interrupt(error: BaseException, frame: FrameType | None) -> None:
    """Raise the exception of a signal: at once, or when a context has been entered or left.

    Args:
        error: The exception.
        frame: The frame that the signal interrupted, an argument of its handler.

    Raises:
        BaseException: ``error``, unless a context is being entered or left.
    """
    at_an_edge = frame is not None and frame.f_code in _EDGES
    if not _state.depth and not at_an_edge:
        raise error
    _state.postponed = _state.postponed or error


class _Uninterrupted(AbstractContextManager[T]):
    """A context whose two methods are not interrupted.

    Python handles signals after calls only, so nothing is raised between a change of ``depth`` and
    the end of a method without a call.
    """

    def __init__(self, context: AbstractContextManager[T]) -> None:
        self._context = context

    def __enter__(self) -> T:
        _state.depth += 1
        try:
            entered = self._context.__enter__()
            error = _state.postponed
            if error is not None and _state.depth == 1:
                self._context.__exit__(type(error), error, None)
            return entered
        finally:
            _state.depth -= 1
            if _state.postponed is not None and not _state.depth:
                error, _state.postponed = _state.postponed, None
                raise error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        _state.depth += 1
        try:
            return self._context.__exit__(kind, error, traceback)
        finally:
            _state.depth -= 1
            if _state.postponed is not None and not _state.depth:
                error, _state.postponed = _state.postponed, None
                raise error


_EDGES = (_Uninterrupted.__enter__.__code__, _Uninterrupted.__exit__.__code__)
"""A signal may come before their first line."""


def uninterrupted(function: Callable[P, Iterator[T]]) -> Callable[P, AbstractContextManager[T]]:
    """Make a context manager of a generator, as ``contextlib.contextmanager`` does.

    What it does before and after the block is not interrupted by a signal whose handler calls
    :func:`interrupt`, as those of the command line do.
    """
    make = contextmanager(function)

    @functools.wraps(function)
    def make_uninterrupted(*args: P.args, **kwargs: P.kwargs) -> AbstractContextManager[T]:
        return _Uninterrupted(make(*args, **kwargs))

    return make_uninterrupted
