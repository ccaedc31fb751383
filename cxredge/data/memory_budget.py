"""Memory for reading and decoding images, shared by all threads of a process.

A 64-megapixel image needs some hundred MB while it is decoded, and every core decodes one. Before
a file is read, and again before it is decoded, its thread reserves what it needs at most, by the
file's size and header, and waits until the others have returned enough. There are three pools, and
a thread reserves at most one part of each, in their order, so threads cannot wait for each other.
An image that alone exceeds a pool is refused.
"""

from __future__ import annotations

import functools
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cxredge.errors import ImageError, ImageProblem

MAX_BUDGET = 4_000_000_000
_SHARE_OF_AVAILABLE = 0.5
_SHARE_OF_FILES = 0.2
_UNKNOWN_AVAILABLE = 2_000_000_000
_LIMITS = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")


class MemoryPool:
    """A number of bytes that threads reserve parts of.

    Args:
        size_bytes: Size of the pool.
        purpose: What the memory is for, in messages.
    """

    def __init__(self, size_bytes: int, purpose: str) -> None:
        self.size_bytes = size_bytes
        self._free_bytes = size_bytes
        self._purpose = purpose
        self._returned = threading.Condition()

    @contextmanager
    def reserve(self, name: str, size_bytes: int) -> Iterator[None]:
        """Reserve a part while the block runs, after waiting until so much is free.

        Args:
            name: The image, in messages.
            size_bytes: Size of the part.

        Raises:
            ImageError: The part is larger than the pool.
        """
        if size_bytes > self.size_bytes:
            raise ImageError(
                ImageProblem.TOO_LARGE,
                f"{name} needs up to {_megabytes(size_bytes)} MB {self._purpose}; "
                f"{_megabytes(self.size_bytes)} MB are available to images on this machine.",
                "Scale it down first, or use a machine with more memory.",
            )
        with self._returned:
            self._returned.wait_for(lambda: self._free_bytes >= size_bytes)
            self._free_bytes -= size_bytes
        try:
            yield
        finally:
            with self._returned:
                self._free_bytes += size_bytes
                self._returned.notify_all()


@dataclass(frozen=True)
class MemoryBudget:
    """Memory for images.

    Attributes:
        files: For the bytes of files.
        unpacked: For data sets that are compressed as a whole (deflated DICOM).
        pixels: For decoded pixels and the decoders.
    """

    files: MemoryPool
    unpacked: MemoryPool
    pixels: MemoryPool

    @classmethod
    def of(cls, size_bytes: int) -> MemoryBudget:
        """Return a budget of this size."""
        part = int(size_bytes * _SHARE_OF_FILES)
        return cls(
            MemoryPool(part, "to be read"),
            MemoryPool(part, "to be unpacked"),
            MemoryPool(size_bytes - 2 * part, "to be decoded"),
        )


@functools.cache
def memory_budget() -> MemoryBudget:
    """Return the budget of this process: half of the available memory, at most 4 GB."""
    available_bytes = available_memory()
    if available_bytes is None:
        available_bytes = _UNKNOWN_AVAILABLE
    return MemoryBudget.of(min(int(available_bytes * _SHARE_OF_AVAILABLE), MAX_BUDGET))


# A forked process begins with the locks of threads that it does not have.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=memory_budget.cache_clear)


def available_memory(root: Path = Path("/")) -> int | None:
    """Return the memory that this process may still use, in bytes; None if unknown.

    The least of what the system has, the limit of the control group and the limit on the address
    space.
    """
    found = [_system_available(root), *(_number(root / path) for path in _LIMITS)]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        pages = (_text(root / "proc/self/statm") or "0").split()[0]
        found.append(max(0, soft - int(pages) * resource.getpagesize()))
    return min((size for size in found if size is not None), default=None)


def _system_available(root: Path) -> int | None:
    for line in (_text(root / "proc/meminfo") or "").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _number(path: Path) -> int | None:
    text = (_text(path) or "").strip()
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _megabytes(size_bytes: int) -> int:
    return -(-size_bytes // 1_000_000)
