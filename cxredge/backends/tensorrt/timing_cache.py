"""Timing caches: kernel timings kept between builds, for one TensorRT version, GPU and board.

They are kept in the user's cache, for the next bundle, and beside the engines, to outlive a
container. Neither is trusted: TensorRT rejects a cache that does not fit, and the golden images are
replayed on every engine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cxredge.artifacts.atomic import atomic_file
from cxredge.backends.cuda.driver import Gpu
from cxredge.backends.tensorrt.api import Api, Flavour

SUFFIX = ".cache"


def cache_name(api: Api, gpu: Gpu, board: str | None) -> str:
    """Return the file name of the cache for a version, a GPU and a board.

    GPUs of all Orin boards share a name and a compute capability, but differ in clocks and
    number of cores, so the board's name is part of the key.
    """
    words = (gpu.name, board) if board else (gpu.name,)
    device = "-".join(re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-") for word in words)
    return f"{api.flavour.value}-{api.version}-sm{gpu.compute_capability}-{device}{SUFFIX}"


def attach(api: Api, config: Any, paths: Sequence[Path]) -> Any | None:
    """Attach the timings of earlier builds; return the cache, or None if none is used.

    TensorRT for RTX compiles instead of timing, so it uses none. A file that the builder rejects,
    because it is damaged or from another driver, is replaced.

    Args:
        api: The bindings.
        config: Builder configuration.
        paths: Possible paths of the cache; the first that exists is read.
    """
    if api.flavour is Flavour.RTX or not paths:
        return None
    known = next((path.read_bytes() for path in paths if path.is_file()), b"")
    timing_cache = config.create_timing_cache(known)
    if timing_cache is None or not config.set_timing_cache(timing_cache, False):
        timing_cache = config.create_timing_cache(b"")
        config.set_timing_cache(timing_cache, False)
    return timing_cache


def save(timing_cache: Any, paths: Sequence[Path]) -> None:
    """Write the timings of a build to every path."""
    host_memory = timing_cache.serialize()
    for path in paths:
        with atomic_file(path) as temporary:
            temporary.write_bytes(bytes(host_memory))
