"""How fast the candidates are on this machine: one image at a time, and many."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from cxredge.backends import CPU_BACKENDS, open_session
from cxredge.backends.base import Session, available_cores
from cxredge.data.images import GreyImage
from cxredge.timing import Latency, interleave, summarise
from cxredge.vocabulary import Precision

BATCHES = (1, 4, 16)
MOST_ROUNDS, TURN_S = 200, 0.06
# Together with these they keep the search for a small network under 20 seconds.
_LATENCIES_S, _MOST_S_A_BATCH = 3.0, 4.0
_WARM_UP, _LEAST_ROUNDS, _TURNS = 10, 20, 3


@dataclass(frozen=True)
class Variant:
    """A way to compute the network here.

    Attributes:
        backend: The runtime.
        precision: Number format.
        model: The file that it loads.
    """

    backend: str
    precision: Precision
    model: Path

    def open(self, threads: int = 0, batch: int = 1) -> Session:
        """Open a session of it."""
        return open_session(self.model, self.backend, threads, self.precision, batch)


@dataclass(frozen=True)
class Throughput:
    """The best way to infer many images.

    Attributes:
        images_per_second: Median of several measurements, the pixels in memory.
        threads: Threads of one inference.
        lanes: Inferences at a time.
        batch: Images an inference.
    """

    images_per_second: float
    threads: int
    lanes: int
    batch: int

    def to_json(self) -> dict[str, Any]:
        """Return the values, the rate rounded."""
        return {**asdict(self), "images_per_second": round(self.images_per_second, 2)}


@dataclass(frozen=True)
class Speed:
    """What was measured of one variant.

    Attributes:
        latency: Of one image, the network alone.
        threads: Threads of one inference that this took; 0 where the runtime has no use for them.
        throughput: None where it was not searched, on a GPU.
    """

    latency: Latency
    threads: int = 0
    throughput: Throughput | None = None


def measure_speeds(variants: Sequence[Variant], image: GreyImage) -> dict[Variant, Speed]:
    """Time variants side by side, in turn, and find the best settings of each on a CPU.

    For one image at a time, all cores, half of them and one are tried as its threads. For many, an
    inference of one thread on each core and one inference on all cores, with each size of batch.

    Args:
        variants: What to time.
        image: uint8 (1, S, S).
    """
    if any(variant.backend not in CPU_BACKENDS for variant in variants):
        return {v: Speed(latency) for v, latency in _latencies(variants, image, 0).items()}
    cores = available_cores()
    counts = sorted({1, max(1, cores // 2), cores}, reverse=True)
    latencies = {count: _latencies(variants, image, count) for count in counts}
    found = {}
    an_image_s = sum(latency.p50 for latency in latencies[cores].values()) / 1000
    for variant, throughput in _throughputs(variants, image, cores, an_image_s).items():
        best = min(counts, key=lambda count: latencies[count][variant].p50)
        found[variant] = Speed(latencies[best][variant], best, throughput)
    return found


def _latencies(
    variants: Sequence[Variant], image: GreyImage, threads: int
) -> dict[Variant, Latency]:
    with ExitStack() as opened:
        # The newest is closed first: contexts of a GPU can lie on a stack.
        sessions = {v: opened.enter_context(v.open(threads)) for v in variants}
        calls = {str(i): (lambda s=s: s.infer(image)) for i, s in enumerate(sessions.values())}
        start = time.perf_counter()
        interleave(calls, 0, _WARM_UP)
        affordable = _LATENCIES_S / (time.perf_counter() - start) * _WARM_UP
        taken = interleave(calls, 0, int(min(MOST_ROUNDS, max(_LEAST_ROUNDS, affordable))))
    return {v: summarise(taken[str(i)]) for i, v in enumerate(variants)}


def _throughputs(
    variants: Sequence[Variant], image: GreyImage, cores: int, an_image_s: float
) -> dict[Variant, Throughput]:
    """Return the best way of each to infer many, where all take ``an_image_s`` for one in turn."""
    rates: dict[Variant, list[Throughput]] = {variant: [] for variant in variants}
    for threads, lanes in sorted({(1, cores), (cores, 1)}):
        for batch in BATCHES:
            if batch > 1 and batch * an_image_s * (1 + _TURNS) > _MOST_S_A_BATCH:
                break
            images = np.repeat(image, batch, axis=0)
            for variant, rate in _rates(variants, images, threads, lanes).items():
                rates[variant].append(Throughput(rate, threads, lanes, batch))
    return {v: max(found, key=lambda one: one.images_per_second) for v, found in rates.items()}


def _rates(
    variants: Sequence[Variant], images: GreyImage, threads: int, lanes: int
) -> dict[Variant, float]:
    """Return images a second of each variant in one way to infer many, measured in turn."""
    rates: dict[Variant, list[float]] = {variant: [] for variant in variants}
    with ExitStack() as opened, ThreadPoolExecutor(lanes) as pool:
        sessions = {v: opened.enter_context(v.open(threads, len(images))) for v in variants}
        for turn in range(1 + _TURNS):
            for variant, session in sessions.items():
                rate = _rate(session, images, lanes, pool)
                if turn:  # the first one warms up
                    rates[variant].append(rate)
    return {variant: median(found) for variant, found in rates.items()}


def _rate(session: Session, images: GreyImage, lanes: int, pool: ThreadPoolExecutor) -> float:
    """Keep a session busy for a while, from ``lanes`` threads; return images a second."""
    start = time.perf_counter()

    def lane() -> int:
        done = 0
        while time.perf_counter() - start < TURN_S:
            session.infer(images)
            done += len(images)
        return done

    done = [pool.submit(lane) for _ in range(lanes)]
    return sum(one.result() for one in done) / (time.perf_counter() - start)
