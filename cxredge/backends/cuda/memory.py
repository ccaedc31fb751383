"""GPU memory, and the stream of a session.

PyCUDA and cuda-python both use the GPU's primary context, as TensorRT does. Each is wrapped in the
few functions of :class:`CudaLibrary`.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cxredge.errors import CxredgeError, DependencyError

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class HostBuffer:
    """Page-locked host memory.

    Attributes:
        array: uint8 (bytes,), valid until the memory is closed.
        address: The GPU's address of the same memory; 0 if it is not mapped.
    """

    array: Bytes
    address: int = 0


class CudaLibrary(Protocol):
    """Interface of a Python library for CUDA. Addresses and handles are plain integers."""

    name: str

    def open(self) -> int:
        """Make the first GPU's primary context current and return the handle of a new stream."""
        ...

    def close(self) -> None:
        """Release stream and context."""
        ...

    def allocate(self, size_bytes: int) -> int:
        """Allocate GPU memory and return its address."""
        ...

    def free(self, address: int) -> None:
        """Free GPU memory."""
        ...

    def allocate_host(self, size_bytes: int, mapped: bool) -> HostBuffer:
        """Allocate page-locked memory; ``mapped`` makes it visible to the GPU."""
        ...

    def free_host(self, buffer: HostBuffer) -> None:
        """Free page-locked memory; its array must not be used afterwards."""
        ...

    def copy_to_device(self, address: int, source: Bytes) -> None:
        """Enqueue a copy to the GPU."""
        ...

    def copy_to_host(self, target: Bytes, address: int) -> None:
        """Enqueue a copy from the GPU."""
        ...

    def synchronize(self) -> None:
        """Wait until the stream has finished its work."""
        ...


class CudaMemory:
    """A stream and the memory allocated for it, freed together.

    It belongs to the thread that created it: a CUDA context is current in one thread, and use in
    another one crashes later.

    Args:
        library: Library that reaches the GPU; this object opens and closes it.

    Raises:
        DependencyError: The GPU cannot be reached.
    """

    def __init__(self, library: CudaLibrary) -> None:
        self._library = library
        self._owner = threading.get_ident()
        self._frees: list[Callable[[], None]] = []
        self._stream = library.open()
        self._closed = False

    @property
    def library(self) -> str:
        """Name of the library."""
        return self._library.name

    @property
    def stream(self) -> int:
        """Handle of the stream."""
        self._check()
        return self._stream

    def device(self, size_bytes: int) -> int:
        """Allocate GPU memory and return its address."""
        self._check()
        address = self._library.allocate(size_bytes)
        self._frees.append(lambda: self._library.free(address))
        return address

    def pinned(self, size_bytes: int) -> HostBuffer:
        """Allocate page-locked memory, for asynchronous copies."""
        return self._host(size_bytes, mapped=False)

    def mapped(self, size_bytes: int) -> HostBuffer:
        """Allocate memory that host and GPU share, so that nothing is copied."""
        return self._host(size_bytes, mapped=True)

    def to_device(self, address: int, source: Bytes) -> None:
        """Enqueue a copy to the GPU; ``source`` must not change until it is done."""
        self._check()
        self._library.copy_to_device(address, source)

    def to_host(self, target: Bytes, address: int) -> None:
        """Enqueue a copy from the GPU; ``target`` is filled once it is done."""
        self._check()
        self._library.copy_to_host(target, address)

    def synchronize(self) -> None:
        """Wait until the stream has finished its work."""
        self._check()
        self._library.synchronize()

    def close(self) -> None:
        """Free all memory, the newest first. Closing twice is harmless."""
        if self._closed:
            return
        self._check()
        try:
            self._library.synchronize()
            while self._frees:
                self._frees.pop()()
        finally:
            self._closed = True
            self._library.close()

    def __enter__(self) -> CudaMemory:
        """Return the memory."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free all memory."""
        self.close()

    def _host(self, size_bytes: int, mapped: bool) -> HostBuffer:
        self._check()
        buffer = self._library.allocate_host(size_bytes, mapped)
        self._frees.append(lambda: self._library.free_host(buffer))
        return buffer

    def _check(self) -> None:
        if self._closed:
            raise CxredgeError("GPU memory was used after it was closed.")
        if threading.get_ident() != self._owner:
            raise CxredgeError(
                "GPU memory was used in another thread than the one that opened it.",
                "Open one session per thread.",
            )


_LIBRARIES = {
    "pycuda": ("cxredge.backends.cuda.pycuda", "PyCudaLibrary"),
    "cuda-python": ("cxredge.backends.cuda.cuda_python", "CudaPythonLibrary"),
}


def open_memory(name: str | None = None) -> CudaMemory:
    """Open the GPU with the first installed library, PyCUDA before cuda-python.

    Args:
        name: ``pycuda`` or ``cuda-python`` to use only that one.

    Raises:
        DependencyError: Neither is installed, or the GPU cannot be reached.
    """
    missing = []
    for known, (module, class_name) in _LIBRARIES.items():
        if name not in (None, known):
            continue
        try:
            library: CudaLibrary = getattr(importlib.import_module(module), class_name)()
        except ImportError as error:
            missing.append(f"{known}: {error}")
            continue
        return CudaMemory(library)
    raise DependencyError(
        f"No library for GPU memory can be imported ({'; '.join(missing) or name}).",
        "Install one: pip install pycuda (needs CUDA's nvcc in PATH), or pip install cuda-python",
    )
