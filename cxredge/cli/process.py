"""The process of the command line: its standard streams, and its end by a signal."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from cxredge.artifacts.interruption import interrupt

_STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)


class Terminated(KeyboardInterrupt):
    """A signal asked the process to end; what it was writing is removed, as after Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def open_closed_streams() -> None:
    """Open the null device for standard streams that are closed, as by ``2>&-``.

    The next file to be opened would have their number otherwise, and messages of libraries would be
    written into it.
    """
    for name, mode in _STREAMS.items():
        if getattr(sys, name) is None:
            # The lowest number that is free, so that of the stream.
            number = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode))


@contextmanager
def terminable() -> Iterator[None]:
    """Raise KeyboardInterrupt or :class:`Terminated` for signals during the block.

    Outputs are not interrupted while they are put in place or removed
    (:mod:`cxredge.artifacts.interruption`). Signals that are ignored stay ignored. Outside the main
    thread, where signals are not delivered, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[Any, Any] = {
        number: signal.signal(number, _terminate)
        for number in _SIGNALS
        if signal.getsignal(number) in _DEFAULTS
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> None:
    interrupt(KeyboardInterrupt() if number == signal.SIGINT else Terminated(number), frame)
