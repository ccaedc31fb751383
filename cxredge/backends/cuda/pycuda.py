"""GPU memory through PyCUDA, on the primary context and never through ``pycuda.autoinit``."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from cxredge.backends.cuda.driver import pop_context
from cxredge.backends.cuda.memory import Bytes, HostBuffer
from cxredge.errors import DependencyError


class PyCudaLibrary:
    """PyCUDA's driver interface.

    ``autoinit`` would make a context of its own, in which TensorRT's memory is not valid; the
    primary context is retained instead and released by :meth:`close`.

    Raises:
        ImportError: PyCUDA is not installed, or was compiled for another driver.
    """

    name = "pycuda"

    def __init__(self) -> None:
        self._cuda: Any = importlib.import_module("pycuda.driver")
        self._allocations: dict[int, Any] = {}
        self._context: Any = None
        self._stream: Any = None

    def open(self) -> int:
        """Make the primary context current in this thread and return a new stream's handle."""
        with self._in_words("opening the GPU"):
            self._cuda.init()
            self._context = self._cuda.Device(0).retain_primary_context()
            self._context.push()
            self._stream = self._cuda.Stream()
        return int(self._stream.handle)

    def close(self) -> None:
        """Destroy the stream and release the primary context.

        Left to its last reference, PyCUDA 2026.1 calls ``cuCtxDetach`` instead of releasing the
        primary context, which then stays retained.
        """
        self._stream = None
        if self._context is not None:
            self._context.detach()
            self._context = None
            # PyCUDA takes it off its own list alone: a context that is destroyed leaves the
            # driver's stack by itself, a primary one does not.
            pop_context()

    def allocate(self, size_bytes: int) -> int:
        """Return the address of new memory of the GPU."""
        with self._in_words(f"taking {size_bytes} bytes of GPU memory"):
            allocation = self._cuda.mem_alloc(size_bytes)
        self._allocations[int(allocation)] = allocation
        return int(allocation)

    def free(self, address: int) -> None:
        """Free memory of the GPU."""
        self._allocations.pop(address).free()

    def allocate_host(self, size_bytes: int, mapped: bool) -> HostBuffer:
        """Return new page-locked memory, which the GPU sees too if ``mapped``."""
        flags = self._cuda.host_alloc_flags.DEVICEMAP if mapped else 0
        with self._in_words(f"taking {size_bytes} bytes of page-locked memory"):
            array = self._cuda.pagelocked_empty(size_bytes, np.uint8, mem_flags=flags)
            return HostBuffer(array, int(array.base.get_device_pointer()) if mapped else 0)

    def free_host(self, buffer: HostBuffer) -> None:
        """Free page-locked memory."""
        allocation: Any = buffer.array.base
        allocation.free()

    def copy_to_device(self, address: int, source: Bytes) -> None:
        """Put a copy to the GPU on the stream."""
        with self._in_words("copying to the GPU"):
            self._cuda.memcpy_htod_async(address, source, self._stream)

    def copy_to_host(self, target: Bytes, address: int) -> None:
        """Put a copy from the GPU on the stream."""
        with self._in_words("copying from the GPU"):
            self._cuda.memcpy_dtoh_async(target, address, self._stream)

    def synchronize(self) -> None:
        """Wait until the stream has done its work."""
        with self._in_words("waiting for the GPU"):
            self._stream.synchronize()

    @contextmanager
    def _in_words(self, doing: str) -> Iterator[None]:
        try:
            yield
        except self._cuda.Error as error:
            raise DependencyError(
                f"PyCUDA failed {doing}: {error}.", "See what is missing: cxredge doctor"
            ) from None
