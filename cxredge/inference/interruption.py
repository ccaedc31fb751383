"""Ctrl-C and SIGTERM as a request that work honours at its next safe point."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from cxredge.artifacts.interruption import interrupt

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While entered, the first signal only sets ``requested``; the second interrupts at once.

    Python raises ``KeyboardInterrupt`` between any two instructions, also inside the locks of its
    thread pools, which may then deadlock. Outside the main thread, where signals are not
    delivered, nothing changes.
    """

    def __init__(self) -> None:
        self._requested = False

    @property
    def requested(self) -> bool:
        """Whether a signal came."""
        return self._requested

    def __enter__(self) -> Interruption:
        """Install the signal handlers."""
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before: dict[Any, Any] = {
                number: signal.signal(number, self._note) for number in _SIGNALS
            }
        return self

    def __exit__(self, *error: object) -> None:
        """Restore the previous signal handlers."""
        if self._main:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._requested:
            interrupt(KeyboardInterrupt(), frame)
        self._requested = True
