"""Ctrl-C as a request that work honours at its next safe point."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interruption:
    """While entered, the first Ctrl-C only sets ``requested``; the second interrupts at once.

    Python raises ``KeyboardInterrupt`` between any two instructions, also inside the locks of its
    thread pools, which may then deadlock. Outside the main thread, where signals are not
    delivered, nothing changes.
    """

    def __init__(self) -> None:
        self._requested = False

    @property
    def requested(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._requested

    def __enter__(self) -> Interruption:
        """Install the signal handler."""
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        """Restore the previous signal handler."""
        if self._main:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True
