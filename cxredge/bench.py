"""Latency and throughput with the circumstances that decide whether they can be compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from cxredge.artifacts import CARD_NAME, sha256_of_file, tool_versions
from cxredge.backends.base import Session
from cxredge.bundle import Bundle, read_golden
from cxredge.data.images import GreyImage, load_grey
from cxredge.data.sources import ImageSource
from cxredge.errors import DataError, ImageError
from cxredge.inputs import check_inputs, walk_images
from cxredge.metrics import softmax
from cxredge.progress import Progress
from cxredge.targets.detect import read_board
from cxredge.targets.registry import find_target, is_here
from cxredge.telemetry import jetson
from cxredge.telemetry.jetson import JetsonState
from cxredge.telemetry.linux import MachineState, read_machine, read_state
from cxredge.timing import Latency, summarise
from cxredge.vocabulary import Scenario

SCHEMA = "cxredge.bench/1"
SAMPLES_PER_QUERY = {Scenario.SINGLE_STREAM: 1, Scenario.MULTI_STREAM: 8, Scenario.OFFLINE: 16}
"""Images a query: MLPerf Inference's numbers; offline takes the batch of ``predict``."""

MAX_CV = 0.10
MIN_QUERIES = 1000
_MAX_IMAGES = 256
_MAX_LOAD_OF_OTHERS = 0.25


@dataclass(frozen=True)
class BenchConfig:
    """The settings of one measurement.

    Attributes:
        scenario: How queries arrive.
        seconds: Least time that is measured.
        queries: Least number of queries.
        warm_up: Untimed queries before.
        threads: Threads of one inference; 0 for all cores.
    """

    scenario: Scenario
    seconds: float
    queries: int
    warm_up: int
    threads: int


@dataclass(frozen=True)
class _Run:
    """What was measured: milliseconds by query and by stage, and the wall time of all queries."""

    queries: list[float]
    stages: dict[str, list[float]]
    seconds: float


def bench(
    bundle: Bundle, images: Sequence[Path], config: BenchConfig, progress: Progress
) -> dict[str, Any]:
    """Measure a bundle on this machine.

    A query is timed from the files (read, decode, preprocess, compute, post) when images are
    given; without images, from the bundle's golden pixels in memory (compute, post).

    Args:
        bundle: What to measure.
        images: Files and folders to read; at most 256 images are used, in turn.
        config: The settings.
        progress: Hears of queries done.

    Returns:
        A JSON value: ``latency_ms``, ``throughput`` in images a second, ``stages_ms``,
        ``cold_start_ms``, ``machine``, ``state`` before and after, ``jetson`` likewise
        (None elsewhere), ``verdict``.

    Raises:
        CxredgeError: No image can be read.
    """
    began = time.perf_counter()
    with bundle.open(threads=config.threads) as session:
        samples = _samples(bundle, images, session.spec.size)
        loaded_ms = (time.perf_counter() - began) * 1000
        first = time.perf_counter()
        session.infer(_pixels_of(samples[0], session.spec.size)[None])
        first_ms = (time.perf_counter() - first) * 1000
        before, board_before = read_state(), _board_state()
        run = _measure(session, samples, config, progress)
        after, board_after = read_state(), _board_state()
    latency = summarise(run.queries)
    count = SAMPLES_PER_QUERY[config.scenario]
    reasons = [*_elsewhere(bundle), *_doubts(latency, run, before, after)]
    if board_before and board_after:
        reasons += jetson.doubts(board_before, board_after)
    return {
        "schema": SCHEMA,
        "bundle_sha256": sha256_of_file(bundle.path / CARD_NAME),
        "network": bundle.card.classifier.network,
        "precision": bundle.precision.value,
        "backend": session.spec.backend,
        "target": bundle.card.config["target"],
        "scenario": config.scenario.value,
        "samples_per_query": count,
        "timed": list(run.stages),
        "images": len(samples),
        "threads": session.spec.threads,
        "latency_ms": latency.to_json(),
        "throughput": round(len(run.queries) * count / run.seconds, 3),
        "stages_ms": {name: summarise(v).to_json() for name, v in run.stages.items()},
        "cold_start_ms": {"load": round(loaded_ms, 2), "first_inference": round(first_ms, 2)},
        "histogram_ms": [round(v, 4) for v in _thin(run.queries)],
        "seconds": round(run.seconds, 3),
        "warm_up_queries": config.warm_up,
        "machine": read_machine().to_json(),
        "state": {"before": asdict(before), "after": asdict(after)},
        "jetson": {"before": board_before.to_json(), "after": board_after.to_json()}
        if board_before and board_after
        else None,
        "tools": tool_versions("onnxruntime", "numpy", "pillow"),
        "verdict": {"comparable": not reasons, "reasons": reasons},
    }


Sample = ImageSource | GreyImage


def _samples(bundle: Bundle, images: Sequence[Path], size: int) -> list[Sample]:
    if not images:
        return list(read_golden(bundle).pixels)
    check_inputs(images)
    from collections import Counter

    readable: list[Sample] = []
    for path in walk_images(images, Counter()):
        try:
            load_grey(path, size)
        except ImageError:
            continue
        readable.append(path)
        if len(readable) == _MAX_IMAGES:
            break
    if not readable:
        raise DataError("None of the images given could be read.", "Give other --images.")
    return readable


def _pixels_of(sample: Sample, size: int) -> GreyImage:
    return sample if isinstance(sample, np.ndarray) else load_grey(sample, size)


def _measure(
    session: Session, samples: list[Sample], config: BenchConfig, progress: Progress
) -> _Run:
    count = SAMPLES_PER_QUERY[config.scenario]
    size = session.spec.size
    endless = cycle(samples)
    from_files = not isinstance(samples[0], np.ndarray)
    stages: dict[str, list[float]] = {"decode": []} if from_files else {}
    stages |= {"compute": [], "post": []}
    pool = ThreadPoolExecutor(session.spec.threads)
    # A single stream waits for each image, so there is nothing to decode beside it.
    decode_all: Callable[..., Any] = map if count == 1 else pool.map

    def query(timed: bool) -> float:
        chosen = list(islice(endless, count))
        marks = [time.perf_counter()]
        pixels = np.stack(list(decode_all(lambda sample: _pixels_of(sample, size), chosen)))
        if from_files:
            marks.append(time.perf_counter())
        logits = session.infer(pixels)
        marks.append(time.perf_counter())
        softmax(logits).argmax(axis=1)
        marks.append(time.perf_counter())
        if timed:
            for name, start, end in zip(stages, marks, marks[1:], strict=False):
                stages[name].append((end - start) * 1000)
        return (marks[-1] - marks[0]) * 1000

    with pool, progress.task("Measuring", None) as advance:
        for _ in range(config.warm_up):
            query(timed=False)
        queries: list[float] = []
        start = time.perf_counter()
        while len(queries) < config.queries or time.perf_counter() - start < config.seconds:
            queries.append(query(timed=True))
            advance(1)
        return _Run(queries, stages, time.perf_counter() - start)


def _board_state() -> JetsonState | None:
    return jetson.read_jetson() if read_board().is_jetson else None


def _elsewhere(bundle: Bundle) -> list[str]:
    """Return the doubt that a bundle is measured on a machine that it was not built for."""
    name = bundle.card.config["target"]
    return [] if is_here(find_target(name)) else [f"this machine is not the target, {name}"]


def _doubts(latency: Latency, run: _Run, before: MachineState, after: MachineState) -> list[str]:
    """Return why the numbers should not be compared with others; empty when nothing speaks so."""
    doubts = []
    if latency.count < MIN_QUERIES:
        doubts.append(f"{latency.count} queries; a 99th percentile needs {MIN_QUERIES}")
    if latency.cv > MAX_CV:
        doubts.append(f"latency varies by {latency.cv:.0%} (coefficient of variation)")
    half = len(run.queries) // 2
    first, second = np.median(run.queries[:half] or [0]), np.median(run.queries[half:])
    if first and abs(second / first - 1) > MAX_CV:
        doubts.append(f"the second half ran {second / first:.2f} times as long as the first")
    if before.governor is None:
        doubts.append("the clock governor cannot be read, so clocks may have changed")
    elif before.governor != "performance":
        doubts.append(f"the clock governor is '{before.governor}', not 'performance'")
    cores = read_machine().cores
    if before.load_1min is not None and before.load_1min > _MAX_LOAD_OF_OTHERS * cores:
        doubts.append(f"other work was running (load {before.load_1min:.2f} on {cores} cores)")
    if None not in (before.steal_ticks, after.steal_ticks) and after.steal_ticks != (
        before.steal_ticks
    ):
        doubts.append("the hypervisor gave processor time to other machines")
    if before.temperature_c is None:
        doubts.append("the temperature cannot be read, so throttling cannot be ruled out")
    return doubts


def _thin(values: list[float], most: int = 2000) -> list[float]:
    step = max(1, -(-len(values) // most))
    return values[::step]
