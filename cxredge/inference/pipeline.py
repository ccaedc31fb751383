"""Images through a session on all cores, delivered in input order.

Where a session may be called from several threads, each worker takes a few images all the way: it
reads, decodes, preprocesses and infers, and nothing waits for anything else. Where a session
belongs to one thread, as on a GPU, workers do all but the inference, and the caller's thread infers
while they prepare the next batches. Pillow and the runtimes release Python's lock, so threads do.
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

from cxredge.backends.base import Logits, Session
from cxredge.data.images import LoadedImage, load_image
from cxredge.data.sources import ImageSource
from cxredge.errors import ImageError

TOGETHER = 8
"""Images that a worker takes at a time, or a whole batch where that is more: an inference sweeps
the caches, so that what is done for each image by itself afterwards takes several times as long."""

IMAGES_AHEAD = 32
"""Images that may wait for a slow one before them, by worker; their pixels are 1.6 MB at 224."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass
class Group:
    """Images that a worker takes at a time.

    Attributes:
        sources: The images, in input order.
        loaded: What each came to: the image, or why there is none.
        logits: float32 (classes,) of each image that could be loaded, in input order.
        near_ties: How many of these were near ties that FP32 decided.
        seconds: Wall seconds by stage: ``read``, ``decode``, ``preprocess``, ``infer``.
    """

    sources: Sequence[ImageSource]
    loaded: list[LoadedImage | ImageError] = field(default_factory=list)
    logits: list[Logits] = field(default_factory=list)
    near_ties: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


class Stopwatch:
    """Adds the time since the last stage to the stage that is over.

    Args:
        seconds: Receives wall seconds by stage.
    """

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds
        self._last = time.perf_counter()

    def __call__(self, stage: str) -> None:
        """Say that a stage is over."""
        now = time.perf_counter()
        self._seconds[stage] = self._seconds.get(stage, 0.0) + now - self._last
        self._last = now


def infer_images(
    session: Session, sources: Iterator[ImageSource], workers: int, any_view: bool = False
) -> Generator[Group, None, None]:
    """Load and infer images, a bounded number ahead of what is taken.

    Close the iterator when it is not taken to its end: what has begun is finished, no more.

    Args:
        session: Takes part in this alone until the iterator ends.
        sources: The images; taken from in the caller's thread.
        workers: Threads, one for each core.
        any_view: Load lateral and oblique views too.

    Yields:
        Groups of whole batches of the session, the last one of what is left, in input order.
    """

    def load(group: Group) -> Group:
        return _load(group, session.spec.size, any_view)

    def load_and_infer(group: Group) -> Group:
        return _infer(load(group), session)

    size = session.spec.batch * max(1, TOGETHER // session.spec.batch)
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

    Unlike ``Executor.map`` it takes items only as they are needed.
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
            group.loaded.append(load_image(source, size, stopwatch, any_view))
        except ImageError as problem:
            group.loaded.append(problem)
    return group


def _infer(group: Group, session: Session) -> Group:
    """Infer batch after batch; which images share one does not depend on others that failed."""
    stopwatch, size = Stopwatch(group.seconds), session.spec.batch
    for start in range(0, len(group.loaded), size):
        batch = group.loaded[start : start + size]
        good = [image.pixels for image in batch if isinstance(image, LoadedImage)]
        if good:
            found = session.infer_decided(np.stack(good))
            group.logits.extend(found.logits)
            group.near_ties += int(found.decided_by_fp32.sum())
    stopwatch("infer")
    return group
