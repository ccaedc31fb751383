"""Load and infer images on all cores, in input order.

If a session is concurrent, each worker processes a few images completely: it reads, decodes,
preprocesses and infers, and no stage waits for another. If a session belongs to one thread, as on a
GPU, the workers do everything but the inference, and the caller's thread infers while they prepare
the next batches. Pillow and the runtimes release Python's lock, so threads run in parallel.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

import numpy as np

from cxredge.backends.base import Outputs, Session
from cxredge.data.images import LoadedImage, load_xray
from cxredge.data.in_memory import ImageInput
from cxredge.errors import ImageError

GROUP_SIZE = 8
"""Images that a worker takes at once; a whole batch if that is larger. An inference evicts the
caches, so per-image work directly after it takes several times as long."""

IMAGES_AHEAD = 32
"""Images per worker that may wait for a slow one before them; their pixels are 1.6 MB at 224."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass
class Group:
    """Images that a worker takes at once, and what the network returned for them.

    Attributes:
        sources: The images, in input order.
        loaded: Each decoded image, or the reason why it cannot be used.
        outputs: Outputs for the decoded images, in input order; None if there is none.
        seconds: Wall seconds by stage: ``read``, ``decode``, ``preprocess``, ``infer``.
    """

    sources: Sequence[ImageInput]
    loaded: list[LoadedImage | ImageError] = field(default_factory=list)
    outputs: Outputs | None = None
    seconds: dict[str, float] = field(default_factory=dict)


class Stopwatch:
    """Adds the time since the previous stage ended to the stage that ends.

    Args:
        seconds: Receives wall seconds by stage.
    """

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds
        self._last = time.perf_counter()

    def __call__(self, stage: str) -> None:
        """End a stage."""
        now = time.perf_counter()
        self._seconds[stage] = self._seconds.get(stage, 0.0) + now - self._last
        self._last = now


def infer_images(
    session: Session, sources: Iterator[ImageInput], workers: int, any_view: bool = False
) -> Generator[Group, None, None]:
    """Load and infer images, a bounded number ahead of the consumer.

    Close the generator if it is not exhausted: groups in progress are finished, no others begin.

    Args:
        session: Used by this generator alone until it ends, unless it is concurrent.
        sources: The images; consumed in the caller's thread.
        workers: Number of threads, one per core.
        any_view: Load lateral and oblique views too.

    Yields:
        Groups in input order: whole batches of the session, then the remainder.
    """

    def load(group: Group) -> Group:
        return _load(group, session.spec.size, any_view)

    def load_and_infer(group: Group) -> Group:
        return _infer(load(group), session)

    size = session.spec.batch * max(1, GROUP_SIZE // session.spec.batch)
    groups = (Group(some) for some in iter(lambda: list(islice(sources, size)), []))
    ahead = workers * max(2, IMAGES_AHEAD // size)
    if session.spec.concurrent:
        yield from map_in_order(load_and_infer, groups, workers, ahead)
    else:
        for group in map_in_order(load, groups, workers, ahead):
            yield _infer(group, session)


def map_in_order(
    function: Callable[[_Item], _Result], items: Iterator[_Item], workers: int, ahead: int
) -> Generator[_Result, None, None]:
    """Yield ``function`` of every item in order, computed by threads at most ``ahead`` items early.

    Unlike ``Executor.map`` it consumes items only as they are needed.
    """
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[_Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _load(group: Group, size: int, any_view: bool) -> Group:
    for source in group.sources:
        stopwatch = Stopwatch(group.seconds)
        try:
            group.loaded.append(load_xray(source, size, stopwatch, any_view))
        except ImageError as problem:
            # A new error: the traceback of this one holds the bytes and pixels of the image.
            group.loaded.append(ImageError(problem.problem, problem.message, problem.hint))
    return group


def _infer(group: Group, session: Session) -> Group:
    """Infer batch by batch; images that failed do not change which others share a batch."""
    stopwatch, size = Stopwatch(group.seconds), session.spec.batch
    parts = []
    for start in range(0, len(group.loaded), size):
        batch = group.loaded[start : start + size]
        pixels = [image.pixels for image in batch if isinstance(image, LoadedImage)]
        if pixels:
            parts.append(session.run(np.stack(pixels)))
    group.outputs = Outputs.joined(parts) if parts else None
    stopwatch("infer")
    return group
