"""GPU memory through PyCUDA, in the primary context, without ``pycuda.autoinit``."""

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
    """CUDA driver API of PyCUDA.

    ``autoinit`` would create a second context, in which TensorRT's memory is not valid. The
    primary context is retained instead, and released by :meth:`close`.

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
        """Make the primary context current in this thread and return the handle of a new stream."""
        with self._translated_errors("opening the GPU"):
            self._cuda.init()
            self._context = self._cuda.Device(0).retain_primary_context()
            self._context.push()
            self._stream = self._cuda.Stream()
        return int(self._stream.handle)

    def close(self) -> None:
        """Destroy the stream and release the primary context.

        Without an explicit ``detach``, PyCUDA 2026.1 calls ``cuCtxDetach`` instead of releasing
        the primary context, which then stays retained.
        """
        self._stream = None
        if self._context is not None:
            self._context.detach()
            self._context = None
            # PyCUDA removes it only from its own list: a destroyed context leaves the driver's
            # stack automatically, a primary one does not.
            pop_context()

    def allocate(self, size_bytes: int) -> int:
        """Allocate GPU memory and return its address."""
        with self._translated_errors(f"allocating {size_bytes} bytes of GPU memory"):
            allocation = self._cuda.mem_alloc(size_bytes)
        self._allocations[int(allocation)] = allocation
        return int(allocation)

    def free(self, address: int) -> None:
        """Free GPU memory."""
        self._allocations.pop(address).free()

    def allocate_host(self, size_bytes: int, mapped: bool) -> HostBuffer:
        """Allocate page-locked memory; ``mapped`` makes it visible to the GPU."""
        flags = self._cuda.host_alloc_flags.DEVICEMAP if mapped else 0
        with self._translated_errors(f"allocating {size_bytes} bytes of page-locked memory"):
            array = self._cuda.pagelocked_empty(size_bytes, np.uint8, mem_flags=flags)
            return HostBuffer(array, int(array.base.get_device_pointer()) if mapped else 0)

    def free_host(self, buffer: HostBuffer) -> None:
        """Free page-locked memory."""
        allocation: Any = buffer.array.base
        allocation.free()

    def copy_to_device(self, address: int, source: Bytes) -> None:
        """Enqueue a copy to the GPU."""
        with self._translated_errors("copying to the GPU"):
            self._cuda.memcpy_htod_async(address, source, self._stream)

    def copy_to_host(self, target: Bytes, address: int) -> None:
        """Enqueue a copy from the GPU."""
        with self._translated_errors("copying from the GPU"):
            self._cuda.memcpy_dtoh_async(target, address, self._stream)

    def synchronize(self) -> None:
        """Wait until the stream has finished its work."""
        with self._translated_errors("synchronizing the stream"):
            self._stream.synchronize()

    @contextmanager
    def _translated_errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except self._cuda.Error as error:
            raise DependencyError(
                f"PyCUDA failed while {doing}: {error}.", "See what is missing: cxredge doctor"
            ) from None
