"""Memory while training: the C library's settings, and what to do when there is too little."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cxredge.errors import CxredgeError

# Names and numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Let the process keep the memory of freed tensors instead of returning it each time.

    A training step allocates the same few hundred megabytes again and again. By default glibc maps
    large blocks anew, and the kernel zeroes their pages at every step; on 2 cores that doubled the
    time of a step.

    Returns:
        Whether the C library took the settings; only glibc does.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 256 << 20))
    return all(mallopt(name, value) for name, value in settings)


@contextmanager
def enough_memory(batch_size: int) -> Iterator[None]:
    """Turn a device's lack of memory into advice.

    Args:
        batch_size: Images a step, of which fewer might fit.

    Raises:
        CxredgeError: The device's memory was not enough.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        cause = str(error).splitlines()[0]
        advice = "Use --precision bf16-mixed, a later --freeze, or --accelerator cpu."
        if batch_size > 1:
            advice = f"Try --batch-size {batch_size // 2}, or --precision bf16-mixed."
        raise CxredgeError(
            f"The device's memory does not hold a step of {batch_size} images: {cause}", advice
        ) from None
