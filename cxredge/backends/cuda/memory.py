"""Memory of the GPU and the one stream that a session works on.

PyCUDA and cuda-python both reach the GPU's primary context, the one that TensorRT uses; each is
wrapped in the few functions of :class:`CudaLibrary`, and everything above is written once.
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
    """Page-locked memory of the host.

    Attributes:
        array: uint8 (bytes,), valid until the memory is closed.
        address: Where the GPU sees the same memory; 0 where it does not.
    """

    array: Bytes
    address: int = 0


class CudaLibrary(Protocol):
    """What a Python library for CUDA has to offer. Addresses and handles are plain integers."""

    name: str

    def open(self) -> int:
        """Make the primary context of the first GPU current here, and return a new stream."""
        ...

    def close(self) -> None:
        """Give up stream and context."""
        ...

    def allocate(self, size_bytes: int) -> int:
        """Return the address of new memory of the GPU."""
        ...

    def free(self, address: int) -> None:
        """Free memory of the GPU."""
        ...

    def allocate_host(self, size_bytes: int, mapped: bool) -> HostBuffer:
        """Return new page-locked memory, which the GPU sees too if ``mapped``."""
        ...

    def free_host(self, buffer: HostBuffer) -> None:
        """Free page-locked memory; its array must not be used any more."""
        ...

    def copy_to_device(self, address: int, source: Bytes) -> None:
        """Put a copy to the GPU on the stream."""
        ...

    def copy_to_host(self, target: Bytes, address: int) -> None:
        """Put a copy from the GPU on the stream."""
        ...

    def synchronize(self) -> None:
        """Wait until the stream has done its work."""
        ...


class CudaMemory:
    """One stream of the GPU and all memory taken through it, freed together.

    Belongs to the thread that made it: CUDA's contexts are current in one thread, and mistakes
    there end in crashes far away.

    Args:
        library: The way to the GPU; this object opens and closes it.

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
        """The library's name."""
        return self._library.name

    @property
    def stream(self) -> int:
        """The stream's handle."""
        self._check()
        return self._stream

    def device(self, size_bytes: int) -> int:
        """Return the address of new memory of the GPU."""
        self._check()
        address = self._library.allocate(size_bytes)
        self._frees.append(lambda: self._library.free(address))
        return address

    def pinned(self, size_bytes: int) -> HostBuffer:
        """Return new page-locked memory, from which copies run without waiting."""
        return self._host(size_bytes, mapped=False)

    def mapped(self, size_bytes: int) -> HostBuffer:
        """Return new memory that host and GPU both see, so that nothing is copied."""
        return self._host(size_bytes, mapped=True)

    def to_device(self, address: int, source: Bytes) -> None:
        """Put a copy to the GPU on the stream; ``source`` must not change until it is done."""
        self._check()
        self._library.copy_to_device(address, source)

    def to_host(self, target: Bytes, address: int) -> None:
        """Put a copy from the GPU on the stream; ``target`` is filled once it is done."""
        self._check()
        self._library.copy_to_host(target, address)

    def synchronize(self) -> None:
        """Wait until the stream has done its work."""
        self._check()
        self._library.synchronize()

    def close(self) -> None:
        """Free everything, the newest first. Closing twice does no harm."""
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
        """Free everything."""
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
                "Open one session in each thread.",
            )


_LIBRARIES = {
    "pycuda": ("cxredge.backends.cuda.pycuda", "PyCudaLibrary"),
    "cuda-python": ("cxredge.backends.cuda.cuda_python", "CudaPythonLibrary"),
}


def open_memory(name: str | None = None) -> CudaMemory:
    """Open the GPU with the first library that is installed, PyCUDA before cuda-python.

    Args:
        name: ``pycuda`` or ``cuda-python`` to take no other.

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
