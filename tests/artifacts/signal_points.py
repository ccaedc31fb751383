"""Sends a signal to this process, in tests, at one of the points where Python handles signals.

Python handles signals on entering a function, after a call and at the end of a loop's turn; also in
the code of a ``with`` statement and a ``finally`` clause.
"""

from __future__ import annotations

import contextlib
import dis
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import cxredge.artifacts

_FILES = (str(Path(cxredge.artifacts.__file__).parent), contextlib.__file__)
_AFTER = ("CALL", "RESUME", "JUMP_BACKWARD", "JUMP_ABSOLUTE")
_NOTES_ENTRY = sys.version_info < (3, 11)
"""Before Python 3.11, no instruction (RESUME) stands for entering a function."""


class SignalPoints:
    """Counts the points in the package `artifacts` and in contextlib, and sends a signal at one.

    Or, with `repeat`, at that one and at all that follow, as an impatient user does. A point in a
    loop, or in a function that is called from the same function again, counts once.

    Attributes:
        count: Points so far.
    """

    def __init__(self, number: signal.Signals, stop_at: int, repeat: bool) -> None:
        self._number, self._stop_at, self._repeat = number, stop_at, repeat
        self._last: dict[FrameType, str] = {}
        self._seen: set[tuple[int, tuple[CodeType, ...]]] = set()
        self.count = 0

    @contextmanager
    def traced(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_FILES):
            return None
        frame.f_trace_opcodes = True
        return self._step

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            last = self._last.get(frame)
            self._last[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            if last.startswith(_AFTER) if last else _NOTES_ENTRY:
                self._reach(frame)
        elif event == "return":
            self._last.pop(frame, None)
        return self._step

    def _reach(self, frame: FrameType) -> None:
        place = (frame.f_lasti, tuple(_callers(frame)))
        if place in self._seen:
            return
        self._seen.add(place)
        self.count += 1
        if self.count == self._stop_at or (self._repeat and self.count > self._stop_at):
            handler = signal.getsignal(self._number)
            assert callable(handler)
            handler(self._number, frame)


def _callers(frame: FrameType, depth: int = 4) -> Iterator[CodeType]:
    above: FrameType | None = frame
    for _ in range(depth):
        if above is not None:
            yield above.f_code
            above = above.f_back
