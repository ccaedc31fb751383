"""Answers to queries, from files or pixels in memory to classes, with the time of each stage."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from cxredge.backends.base import Session, available_cores
from cxredge.data import images
from cxredge.data.images import GreyImage, load_xray
from cxredge.data.sources import ImageSource
from cxredge.inference.pipeline import map_in_order
from cxredge.metrics.classification import softmax

Sample = ImageSource | GreyImage
_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class _Loaded:
    """Pixels of an image, and when loading began and each of its stages ended, in seconds."""

    pixels: GreyImage
    began: float
    ended: Sequence[tuple[str, float]]


class Workload:
    """A session and the images of the queries.

    Args:
        session: Classifies the images. In :meth:`stream`, a concurrent session is called from as
            many threads as there are cores for, one batch per thread; any other session is called
            from the calling thread.
        samples: All files, or all uint8 (S, S) pixels.

    Attributes:
        from_files: Whether the samples are files.
        stages: Milliseconds by stage, one value per query. Where threads decode in parallel, the
            time span of a query's images is divided in proportion to the threads' time.
    """

    def __init__(self, session: Session, samples: Sequence[Sample]) -> None:
        self._session, self._samples = session, samples
        self.from_files = not isinstance(samples[0], np.ndarray)
        loading = images.STAGES if self.from_files else ()
        self.stages: dict[str, list[float]] = {n: [] for n in (*loading, "compute", "post")}
        cores = available_cores()
        self._pool = ThreadPoolExecutor(cores, thread_name_prefix="decode")
        self._lanes = cores // session.spec.threads if session.spec.concurrent else 1

    def __len__(self) -> int:
        """Return the number of different images."""
        return len(self._samples)

    def answer(self, indices: Sequence[int]) -> None:
        """Answer one query of the images with these indices."""
        if self.from_files and len(indices) > 1:
            loaded = list(self._pool.map(self._load, indices))
        else:
            # With a single image there is nothing to decode in parallel.
            loaded = [self._load(index) for index in indices]
        self._classify(loaded)

    def stream(self, batches: Iterable[Sequence[int]]) -> Iterator[None]:
        """Answer batches, with the next ones in progress; yield when each is done."""
        if self._lanes > 1:
            yield from map_in_order(
                self._answer_alone, iter(batches), self._lanes, self._lanes + _BATCHES_AHEAD
            )
            return
        if not self.from_files:
            for batch in batches:
                self.answer(batch)
                yield
            return
        ahead: deque[list[Future[_Loaded]]] = deque()
        waiting = iter(batches)
        try:
            while True:
                while len(ahead) <= _BATCHES_AHEAD and (batch := next(waiting, ())):
                    ahead.append([self._pool.submit(self._load, index) for index in batch])
                if not ahead:
                    return
                self._classify([future.result() for future in ahead.popleft()])
                yield
        finally:
            for future in (future for batch in ahead for future in batch):
                future.cancel()

    def forget(self) -> None:
        """Discard the times of the warm-up."""
        for times in self.stages.values():
            times.clear()

    def __enter__(self) -> Workload:
        """Return the workload."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the decoding threads."""
        self._pool.shutdown(cancel_futures=True)

    def _answer_alone(self, indices: Sequence[int]) -> None:
        self._classify([self._load(index) for index in indices])

    def _load(self, index: int) -> _Loaded:
        sample = self._samples[index]
        began = time.perf_counter()
        if isinstance(sample, np.ndarray):
            return _Loaded(sample, began, ())
        ended: list[tuple[str, float]] = []
        pixels = load_xray(
            sample,
            self._session.spec.size,
            lambda stage: ended.append((stage, time.perf_counter())),
        ).pixels
        return _Loaded(pixels, began, ended)

    def _classify(self, loaded: Sequence[_Loaded]) -> None:
        if self.from_files:
            self._note_loading(loaded)
        begin = time.perf_counter()
        logits = self._session.infer(np.stack([one.pixels for one in loaded]))
        computed = time.perf_counter()
        softmax(logits).argmax(axis=1)
        self.stages["compute"].append((computed - begin) * 1000)
        self.stages["post"].append((time.perf_counter() - computed) * 1000)

    def _note_loading(self, loaded: Sequence[_Loaded]) -> None:
        worked = dict.fromkeys(images.STAGES, 0.0)
        for one in loaded:
            previous = one.began
            for stage, ended in one.ended:
                worked[stage] += ended - previous
                previous = ended
        span = max(one.ended[-1][1] for one in loaded) - min(one.began for one in loaded)
        concurrency = sum(worked.values()) / span
        for stage, seconds in worked.items():
            self.stages[stage].append(seconds / concurrency * 1000)
