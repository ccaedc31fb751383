"""Latency and throughput of the candidates on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from threading import Barrier

import numpy as np
from PIL import Image

from cxredge.artifacts.temporary import scratch_folder
from cxredge.backends import CPU_BACKENDS, open_session
from cxredge.backends.base import Session, available_cores
from cxredge.bundle.serving import RuntimeSettings, Speed, Throughput
from cxredge.data.images import GreyImage, load_grey
from cxredge.metrics.latency import Latency, summarise, take_turns
from cxredge.progress import Advance, Progress
from cxredge.vocabulary import Precision

BATCHES = (1, 8, 16)
# Together with these they keep the search for a small network at about half a minute.
TRIAL_S, LATENCY_S, RATE_S, _FILE_RATE_S = 0.3, 1.0, 0.08, 0.15
_FILE_SIDE = 1024
_MAX_BATCH_S = 1.0
_CLEARLY = 1.2
"""Factor by which one inference on all cores must exceed one inference per core. A short
measurement overestimates it, as the last inferences have all cores to themselves: settings that
measured the same were a fifth slower on a folder."""
_NEARLY = 0.95
"""Share of the best rate at which a smaller batch is preferred: its first rows are ready sooner,
and it uses less memory. MobileNet V1 in OpenVINO: 1.0 s and 254 MB in batches of 16, 0.9 s and
174 MB in batches of 4."""
_TURNS, _SETTLE_S = 3, 0.03

Feed = Callable[[int], GreyImage]
"""Returns a number of images, uint8 (N, S, S)."""


@dataclass(frozen=True)
class Variant:
    """A precision in a runtime.

    Attributes:
        backend: The runtime.
        precision: The precision.
        model: The file that the runtime loads.
    """

    backend: str
    precision: Precision
    model: Path

    def open(self, settings: RuntimeSettings) -> Session:
        """Open a session."""
        return open_session(
            self.model, self.backend, settings.threads, self.precision, settings.batch
        )


Setup = tuple[Variant, RuntimeSettings]


def measure_speeds(
    variants: Sequence[Variant], image: GreyImage, progress: Progress
) -> dict[Variant, Speed]:
    """Find the best settings of each variant on a CPU, then time the variants side by side.

    For one image at a time, all cores, half of them and one are tried as the number of threads. For
    many images, one single-threaded inference per core and one inference on all cores are tried in
    each batch size, on images from a JPEG file: between inferences ``predict`` decodes, which
    evicts the caches and occupies the cores. In memory, MobileNet V1 in OpenVINO is as fast in
    batches of 1 as of 8; on folders, batches of 8 were 7% to 28% faster. The reported rate is one
    in memory. Measurements are interleaved: first the settings of a variant, then the variants in
    their best settings.

    Args:
        variants: The variants to time.
        image: uint8 (1, S, S).
        progress: Progress listener.

    Returns:
        The speed of each variant; on a GPU without throughput.
    """
    if any(variant.backend not in CPU_BACKENDS for variant in variants):
        with progress.task("Timing the candidates", None):
            latencies = _latencies([(v, RuntimeSettings(0)) for v in variants], image, LATENCY_S)
        return {variant: Speed(latency) for (variant, _), latency in latencies.items()}
    steps = 2 * len(variants) + 2
    with (
        scratch_folder("timing") as folder,
        progress.task("Timing the candidates", steps) as advance,
    ):
        feed = _file_feed(folder / "image.jpg", image)
        best = [_best_setups(v, image, feed, available_cores(), advance) for v in variants]
        latencies = _latencies([one for one, _ in best], image, LATENCY_S)
        advance(1)
        rates = _rates([many for _, many in best], partial(np.repeat, image, axis=0), RATE_S)
        advance(1)
    return {
        one[0]: Speed(latencies[one], one[1].threads, Throughput.of(rates[many], many[1]))
        for one, many in best
    }


def _file_feed(path: Path, image: GreyImage) -> Feed:
    """Return a feed that decodes one JPEG file, as large as X-rays are, for every image."""
    large = Image.fromarray(image[0]).resize((_FILE_SIDE, _FILE_SIDE))
    large.save(path, "JPEG", quality=90)
    return lambda count: np.stack([load_grey(path, image.shape[1]) for _ in range(count)])


def _best_setups(
    variant: Variant, image: GreyImage, feed: Feed, cores: int, advance: Advance
) -> tuple[Setup, Setup]:
    """Return a variant's best setups for one image and for many images, in two steps."""
    counts = sorted({1, max(1, cores // 2), cores}, reverse=True)
    latencies = _latencies([(variant, RuntimeSettings(count)) for count in counts], image, TRIAL_S)
    one = min(latencies, key=lambda setup: latencies[setup].p50)
    advance(1)
    affordable = _MAX_BATCH_S * 1000 / latencies[one].p50
    setups = [
        (variant, RuntimeSettings(threads, lanes, batch))
        for threads, lanes in sorted({(1, cores), (cores, 1)})
        for batch in BATCHES
        if batch == 1 or batch <= affordable
    ]
    many = _best_for_files(_rates(setups, feed, _FILE_RATE_S, cores), cores)
    advance(1)
    return one, many


def _best_for_files(rates: dict[Setup, float], cores: int) -> Setup:
    worth = {s: rates[s] / (_CLEARLY if s[1].lanes < cores else 1) for s in rates}
    best = max(worth, key=lambda setup: worth[setup])
    nearly = [s for s in worth if s[1].lanes == best[1].lanes and worth[s] >= _NEARLY * worth[best]]
    return min(nearly, key=lambda setup: setup[1].batch)


def _latencies(setups: Sequence[Setup], image: GreyImage, seconds: float) -> dict[Setup, Latency]:
    """Time one image at a time in each setup, interleaved."""
    with ExitStack() as opened:
        # The newest is closed first: contexts of a GPU can lie on a stack.
        sessions = [opened.enter_context(variant.open(settings)) for variant, settings in setups]
        calls = {str(i): (lambda s=s: s.infer(image)) for i, s in enumerate(sessions)}
        taken = take_turns(calls, seconds)
    return {setup: summarise(taken[str(i)]) for i, setup in enumerate(setups)}


def _rates(
    setups: Sequence[Setup], feed: Feed, seconds: float, callers: int = 0
) -> dict[Setup, float]:
    """Return images per second of each setup, measured in turn.

    Args:
        setups: The setups to measure.
        feed: Returns the images of a batch.
        seconds: Duration of each measurement, per turn.
        callers: Number of threads that feed and infer; 0 for the lanes of the setup.
    """
    rates: dict[Setup, list[float]] = {setup: [] for setup in setups}
    counts = {setup: callers or setup[1].lanes for setup in setups}
    with ExitStack() as opened, ThreadPoolExecutor(max(counts.values())) as pool:
        sessions = {s: opened.enter_context(s[0].open(s[1])) for s in setups}
        for turn in range(1 + _TURNS):
            for setup, session in sessions.items():
                step = partial(_fed, session, feed, setup[1].batch)
                rate = _rate(step, counts[setup], seconds, pool)
                if turn:  # the first one warms up
                    rates[setup].append(rate)
    return {setup: median(found) for setup, found in rates.items()}


def _fed(session: Session, feed: Feed, batch: int) -> int:
    """Infer one batch and return its number of images."""
    session.infer(feed(batch))
    return batch


def _rate(step: Callable[[], int], callers: int, seconds: float, pool: ThreadPoolExecutor) -> float:
    """Run a step repeatedly in several threads; return images per second."""
    together = Barrier(callers)

    def caller() -> float:
        """Return images per second from the common start to the end of the last step."""
        settled = time.perf_counter() + _SETTLE_S
        try:
            while time.perf_counter() < settled:
                step()
        except BaseException:
            together.abort()
            raise
        together.wait()
        began, done = time.perf_counter(), 0
        while time.perf_counter() < began + seconds or not done:
            done += step()
        return done / (time.perf_counter() - began)

    return sum(one.result() for one in [pool.submit(caller) for _ in range(callers)])
