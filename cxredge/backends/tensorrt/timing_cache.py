"""Kernel timings kept between builds; they hold for one TensorRT version, GPU and board.

They are kept in several places: in the user's cache, where the next bundle finds them, and beside
the engines, which outlives a container. Neither is trusted: TensorRT refuses what does not fit, and
the golden images are replayed on every engine.
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
    """Return the name of the file for the timings of a version, a GPU and a board.

    All boards with an Orin have a GPU of the same name and compute capability, and other clocks and
    numbers of cores, so the board's own name is part of the key.
    """
    words = (gpu.name, board) if board else (gpu.name,)
    where = "-".join(re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-") for word in words)
    return f"{api.flavour.value}-{api.version}-sm{gpu.compute_capability}-{where}{SUFFIX}"


def attach(api: Api, config: Any, paths: Sequence[Path]) -> Any | None:
    """Give a builder the timings of earlier builds; return the cache, or None where none is used.

    TensorRT for RTX compiles instead of timing, and has no use for it. A file that the builder
    does not take, because it is damaged or another driver wrote it, is begun anew.

    Args:
        api: The bindings.
        config: The builder's configuration.
        paths: Where the file may lie; the first that is there is read.
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
    """Keep what a build has measured."""
    host_memory = timing_cache.serialize()
    for path in paths:
        with atomic_file(path) as temporary:
            temporary.write_bytes(bytes(host_memory))
