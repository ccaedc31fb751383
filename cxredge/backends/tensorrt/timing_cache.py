"""Kernel timings kept between builds; they hold for one TensorRT version, GPU and board."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cxredge.atomic import atomic_file
from cxredge.backends.cuda.driver import Gpu
from cxredge.backends.tensorrt.api import Api, Flavour


def cache_path(folder: Path, api: Api, gpu: Gpu, board: str | None) -> Path:
    """Return where the timings of a version, a GPU and a board are kept.

    All boards with an Orin have a GPU of the same name and compute capability, and other clocks and
    numbers of cores, so the board's own name is part of the key.
    """
    words = (gpu.name, board) if board else (gpu.name,)
    where = "-".join(re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-") for word in words)
    return folder / f"{api.flavour.value}-{api.version}-sm{gpu.compute_capability}-{where}.cache"


def attach(api: Api, config: Any, path: Path) -> Any | None:
    """Give a builder the timings of earlier builds; return the cache, or None where none is used.

    TensorRT for RTX compiles instead of timing, and has no use for it. A file that the builder
    does not take, because it is damaged or another driver wrote it, is begun anew.
    """
    if api.flavour is Flavour.RTX:
        return None
    known = path.read_bytes() if path.is_file() else b""
    timing_cache = config.create_timing_cache(known)
    if timing_cache is None or not config.set_timing_cache(timing_cache, False):
        timing_cache = config.create_timing_cache(b"")
        config.set_timing_cache(timing_cache, False)
    return timing_cache


def save(timing_cache: Any, path: Path) -> None:
    """Keep what a build has measured."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(bytes(timing_cache.serialize()))
