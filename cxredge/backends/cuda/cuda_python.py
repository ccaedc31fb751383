"""GPU memory through the runtime API of NVIDIA's cuda-python (``cuda.bindings``).

The runtime API uses the primary context, and unlike the driver API its functions have kept their
arguments from CUDA 11 to 13.
"""

from __future__ import annotations

import ctypes
import importlib
from typing import Any

import numpy as np

from cxredge.backends.cuda.memory import Bytes, HostBuffer
from cxredge.errors import DependencyError

# Name of the module from 12.6 on, and before.
_MODULES = ("cuda.bindings.runtime", "cuda.cudart")
_INSUFFICIENT_DRIVER = 35


class CudaPythonLibrary:
    """CUDA runtime API of cuda-python.

    Raises:
        ImportError: cuda-python is not installed.
    """

    name = "cuda-python"

    def __init__(self) -> None:
        self._cuda: Any = _runtime()
        self._stream: Any = None

    def open(self) -> int:
        """Select the first GPU in this thread and return the handle of a new stream."""
        self._call("selecting the GPU", self._cuda.cudaSetDevice(0))
        self._stream = self._call("creating a stream", self._cuda.cudaStreamCreate())
        return int(self._stream)

    def close(self) -> None:
        """Destroy the stream; the primary context stays, because others may use it."""
        if self._stream is not None:
            self._call("destroying the stream", self._cuda.cudaStreamDestroy(self._stream))
            self._stream = None

    def allocate(self, size_bytes: int) -> int:
        """Allocate GPU memory and return its address."""
        doing = f"allocating {size_bytes} bytes of GPU memory"
        return int(self._call(doing, self._cuda.cudaMalloc(size_bytes)))

    def free(self, address: int) -> None:
        """Free GPU memory."""
        self._call("freeing GPU memory", self._cuda.cudaFree(address))

    def allocate_host(self, size_bytes: int, mapped: bool) -> HostBuffer:
        """Allocate page-locked memory; ``mapped`` makes it visible to the GPU."""
        doing = f"allocating {size_bytes} bytes of page-locked memory"
        flags = self._cuda.cudaHostAllocMapped if mapped else self._cuda.cudaHostAllocDefault
        pointer = int(self._call(doing, self._cuda.cudaHostAlloc(size_bytes, flags)))
        array = np.ctypeslib.as_array((ctypes.c_uint8 * size_bytes).from_address(pointer))
        address = self._cuda.cudaHostGetDevicePointer(pointer, 0) if mapped else None
        return HostBuffer(array, int(self._call(doing, address)) if address else 0)

    def free_host(self, buffer: HostBuffer) -> None:
        """Free page-locked memory."""
        pointer = buffer.array.ctypes.data
        self._call("freeing page-locked memory", self._cuda.cudaFreeHost(pointer))

    def copy_to_device(self, address: int, source: Bytes) -> None:
        """Enqueue a copy to the GPU."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        pointer, size = source.ctypes.data, source.nbytes
        done = self._cuda.cudaMemcpyAsync(address, pointer, size, kind, self._stream)
        self._call("copying to the GPU", done)

    def copy_to_host(self, target: Bytes, address: int) -> None:
        """Enqueue a copy from the GPU."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        pointer, size = target.ctypes.data, target.nbytes
        done = self._cuda.cudaMemcpyAsync(pointer, address, size, kind, self._stream)
        self._call("copying from the GPU", done)

    def synchronize(self) -> None:
        """Wait until the stream has finished its work."""
        self._call("synchronizing the stream", self._cuda.cudaStreamSynchronize(self._stream))

    def _call(self, doing: str, returned: tuple[Any, ...]) -> Any:
        """Return the value of a CUDA call; raise DependencyError if its status is not success."""
        status, *values = returned
        if int(status) == 0:
            return values[0] if values else None
        words = self._cuda.cudaGetErrorString(status)[1].decode(errors="replace")
        hint = "See what is missing: cxredge doctor"
        if int(status) == _INSUFFICIENT_DRIVER:
            hint = "Install the cuda-python of the driver's CUDA version (see nvidia-smi)."
        raise DependencyError(f"CUDA failed while {doing}: {words} (error {int(status)}).", hint)


def _runtime() -> Any:
    for name in _MODULES:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise ImportError("cuda-python is not installed")
