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
from cxredge.timing import Latency, summarise, take_turns
from cxredge.vocabulary import Precision

BATCHES = (1, 4, 16)
# Together with these they keep the search for a small network at about 20 seconds.
TRIAL_S, LATENCY_S, RATE_S = 0.3, 1.0, 0.08
_MOST_S_A_BATCH = 1.0
_CLEARLY, _NEARLY = 1.2, 0.95
"""When an inference on all cores beats one on each, and a larger batch stands for a smaller one.
``predict`` decodes between inferences: on a core of its own each goes on without waiting, and the
larger the batch, the fewer times work is handed to a runtime's own threads. With MobileNet V1 in
OpenVINO on two cores, batches of 4, 2 to 5% slower in memory, were a tenth faster on files."""
_TURNS, _SETTLE_S = 3, 0.03


@dataclass(frozen=True)
class Way:
    """Settings of a runtime.

    Attributes:
        threads: Threads of one inference; 0 where the runtime has no use for them.
        lanes: Inferences at a time.
        batch: Images an inference.
    """

    threads: int
    lanes: int = 1
    batch: int = 1


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

    def open(self, way: Way) -> Session:
        """Open a session of it."""
        return open_session(self.model, self.backend, way.threads, self.precision, way.batch)


@dataclass(frozen=True)
class Throughput:
    """The best way to infer many images.

    Attributes:
        images_per_second: Median of several measurements, the pixels in memory.
        way: How.
    """

    images_per_second: float
    way: Way

    def to_json(self) -> dict[str, Any]:
        """Return rate and settings as one, the rate rounded."""
        return {"images_per_second": round(self.images_per_second, 2), **asdict(self.way)}


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


Setup = tuple[Variant, Way]


def measure_speeds(variants: Sequence[Variant], image: GreyImage) -> dict[Variant, Speed]:
    """Find the best settings of each variant on a CPU, then time the variants side by side.

    For one image at a time, all cores, half of them and one are tried as its threads. For many, an
    inference of one thread on each core and one inference on all cores, with each size of batch.
    What is compared takes turns: first the settings of a variant, then the variants at their best.

    Args:
        variants: What to time.
        image: uint8 (1, S, S).
    """
    if any(variant.backend not in CPU_BACKENDS for variant in variants):
        latencies = _latencies([(v, Way(0)) for v in variants], image, LATENCY_S)
        return {variant: Speed(latency) for (variant, _), latency in latencies.items()}
    best = [_best_setups(variant, image, available_cores()) for variant in variants]
    latencies = _latencies([one for one, _ in best], image, LATENCY_S)
    rates = _rates([many for _, many in best], image)
    return {
        one[0]: Speed(latencies[one], one[1].threads, Throughput(rates[many], many[1]))
        for one, many in best
    }


def _best_setups(variant: Variant, image: GreyImage, cores: int) -> tuple[Setup, Setup]:
    """Return a variant's best setups for one image and for many."""
    counts = sorted({1, max(1, cores // 2), cores}, reverse=True)
    latencies = _latencies([(variant, Way(count)) for count in counts], image, TRIAL_S)
    one = min(latencies, key=lambda setup: latencies[setup].p50)
    affordable = _MOST_S_A_BATCH * 1000 / latencies[one].p50
    rates = _rates(
        [
            (variant, Way(threads, lanes, batch))
            for threads, lanes in sorted({(1, cores), (cores, 1)})
            for batch in BATCHES
            if batch == 1 or batch <= affordable
        ],
        image,
    )
    return one, _best_for_files(rates, cores)


def _best_for_files(rates: dict[Setup, float], cores: int) -> Setup:
    worth = {s: rates[s] / (_CLEARLY if s[1].lanes < cores else 1) for s in rates}
    best = max(worth, key=lambda setup: worth[setup])
    nearly = [s for s in worth if s[1].lanes == best[1].lanes and worth[s] >= _NEARLY * worth[best]]
    return max(nearly, key=lambda setup: setup[1].batch)


def _latencies(setups: Sequence[Setup], image: GreyImage, seconds: float) -> dict[Setup, Latency]:
    """Time one image at a time in each setup, in turn."""
    with ExitStack() as opened:
        # The newest is closed first: contexts of a GPU can lie on a stack.
        sessions = [opened.enter_context(variant.open(way)) for variant, way in setups]
        calls = {str(i): (lambda s=s: s.infer(image)) for i, s in enumerate(sessions)}
        taken = take_turns(calls, seconds)
    return {setup: summarise(taken[str(i)]) for i, setup in enumerate(setups)}


def _rates(setups: Sequence[Setup], image: GreyImage) -> dict[Setup, float]:
    """Return images a second of each setup, measured in turn."""
    rates: dict[Setup, list[float]] = {setup: [] for setup in setups}
    most_lanes = max(way.lanes for _, way in setups)
    with ExitStack() as opened, ThreadPoolExecutor(most_lanes) as pool:
        sessions = {s: opened.enter_context(s[0].open(s[1])) for s in setups}
        for turn in range(1 + _TURNS):
            for setup, session in sessions.items():
                images = np.repeat(image, setup[1].batch, axis=0)
                rate = _rate(session, images, setup[1].lanes, pool)
                if turn:  # the first one warms up
                    rates[setup].append(rate)
    return {setup: median(found) for setup, found in rates.items()}


def _rate(session: Session, images: GreyImage, lanes: int, pool: ThreadPoolExecutor) -> float:
    """Keep a session busy for a while, from ``lanes`` threads; return images a second."""
    counted_from = time.perf_counter() + _SETTLE_S

    def lane() -> int:
        done = 0
        while (began := time.perf_counter()) < counted_from + RATE_S:
            session.infer(images)
            done += len(images) if began >= counted_from else 0
        return done

    done = [pool.submit(lane) for _ in range(lanes)]
    return sum(one.result() for one in done) / (time.perf_counter() - counted_from)
