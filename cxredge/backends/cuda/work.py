"""Work on a CUDA stream: recorded as a graph, and timed by events.

Both call the driver directly: PyCUDA has no functions for graphs, and a stream's handle is the same
for every library.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from cxredge.backends.cuda import driver

_THREAD_LOCAL_CAPTURE = 1


class CudaGraph:
    """Work captured from a stream, which one call launches again.

    Args:
        stream: The stream's handle. Only its thread may capture and launch.
        enqueue: Puts the work on the stream; must not wait for it.
        load: Loads a shared library by name; tests use another one.

    Raises:
        DependencyError: The driver refuses, for example because the work waits for something.
    """

    def __init__(
        self,
        stream: int,
        enqueue: Callable[[], None],
        load: Callable[[str], Any] = ctypes.CDLL,
    ) -> None:
        self._driver = driver.load_driver(load)
        self._stream = ctypes.c_void_p(stream)
        self._executable = ctypes.c_void_p()
        captured = ctypes.c_void_p()
        begun = self._driver.cuStreamBeginCapture_v2(self._stream, _THREAD_LOCAL_CAPTURE)
        driver.check(self._driver, begun)
        try:
            enqueue()
        finally:
            # A stream that is left in capture mode is unusable.
            ended = self._driver.cuStreamEndCapture(self._stream, ctypes.byref(captured))
        driver.check(self._driver, ended)
        try:
            instantiated = self._driver.cuGraphInstantiateWithFlags(
                ctypes.byref(self._executable), captured, ctypes.c_ulonglong(0)
            )
            driver.check(self._driver, instantiated)
        finally:
            self._driver.cuGraphDestroy(captured)

    def launch(self) -> None:
        """Put all of the work on the stream again."""
        driver.check(self._driver, self._driver.cuGraphLaunch(self._executable, self._stream))

    def close(self) -> None:
        """Free the graph. Closing twice is harmless."""
        if self._executable:
            self._driver.cuGraphExecDestroy(self._executable)
            self._executable = ctypes.c_void_p()


class CudaEvents:
    """Events on a stream, whose times the GPU records.

    Args:
        stream: The stream's handle.
        load: Loads a shared library by name; tests use another one.
    """

    def __init__(self, stream: int, load: Callable[[str], Any] = ctypes.CDLL) -> None:
        self._driver = driver.load_driver(load)
        self._stream = ctypes.c_void_p(stream)
        self._events: list[ctypes.c_void_p] = []

    def record(self) -> None:
        """Record an event on the stream.

        Raises:
            DependencyError: The driver refuses.
        """
        event = ctypes.c_void_p()
        driver.check(self._driver, self._driver.cuEventCreate(ctypes.byref(event), 0))
        self._events.append(event)
        driver.check(self._driver, self._driver.cuEventRecord(event, self._stream))

    def elapsed_ms(self) -> list[float]:
        """Return the milliseconds between consecutive events; the stream must have passed them.

        Raises:
            DependencyError: The driver refuses, for example because an event is still pending.
        """
        elapsed = []
        for start, end in zip(self._events, self._events[1:], strict=False):
            milliseconds = ctypes.c_float()
            status = self._driver.cuEventElapsedTime(ctypes.byref(milliseconds), start, end)
            driver.check(self._driver, status)
            elapsed.append(milliseconds.value)
        return elapsed

    def close(self) -> None:
        """Free the events. Closing twice is harmless."""
        while self._events:
            self._driver.cuEventDestroy_v2(self._events.pop())
