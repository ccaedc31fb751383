"""The GPU's own clock: how long each piece of work on a stream took."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from cxredge.backends.cuda import driver


class Events:
    """Marks on a stream, timed by the GPU when it passes them.

    Made by the driver itself, as handles of streams are the same for every library.

    Args:
        stream: The stream's handle.
        load: Loads a shared library by name; another one in tests.
    """

    def __init__(self, stream: int, load: Callable[[str], Any] = ctypes.CDLL) -> None:
        self._driver = driver.load_driver(load)
        self._stream = ctypes.c_void_p(stream)
        self._events: list[ctypes.c_void_p] = []

    def mark(self) -> None:
        """Put a mark on the stream.

        Raises:
            DependencyError: The driver refuses.
        """
        event = ctypes.c_void_p()
        driver.check(self._driver, self._driver.cuEventCreate(ctypes.byref(event), 0))
        self._events.append(event)
        driver.check(self._driver, self._driver.cuEventRecord(event, self._stream))

    def elapsed_ms(self) -> list[float]:
        """Return the milliseconds between each mark and the next; the stream has passed them all.

        Raises:
            DependencyError: The driver refuses, for example because the stream has not.
        """
        elapsed = []
        for start, end in zip(self._events, self._events[1:], strict=False):
            milliseconds = ctypes.c_float()
            status = self._driver.cuEventElapsedTime(ctypes.byref(milliseconds), start, end)
            driver.check(self._driver, status)
            elapsed.append(milliseconds.value)
        return elapsed

    def close(self) -> None:
        """Free the marks."""
        while self._events:
            self._driver.cuEventDestroy_v2(self._events.pop())
