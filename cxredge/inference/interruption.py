"""Ctrl-C as a wish that work looks at when it can stop without harm."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class Interruption:
    """While entered, the first Ctrl-C is only noted; the second interrupts at once.

    Python raises ``KeyboardInterrupt`` between any two instructions, also inside the locks of its
    own thread pools, which may then fail on their part. Outside the main thread, where signals
    cannot be heard, nothing changes.
    """

    def __init__(self) -> None:
        self._wished = False

    @property
    def wished(self) -> bool:
        """Whether Ctrl-C was pressed."""
        return self._wished

    def __enter__(self) -> Interruption:
        """Begin to listen."""
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave Ctrl-C to whoever had it."""
        if self._main:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._wished:
            raise KeyboardInterrupt
        self._wished = True
