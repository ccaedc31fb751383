"""One measurement from the session's opening to the result."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cxredge.backends.base import Session
from cxredge.backends.tensorrt.session import SessionOptions
from cxredge.bench import builtin, gpu, loadgen
from cxredge.bench.accuracy import Labelled, measure_accuracy
from cxredge.bench.result import Circumstances, describe
from cxredge.bench.scenarios import RULES, Measured
from cxredge.bench.split import split_stages
from cxredge.bench.workload import Sample, Workload
from cxredge.bundle.bundle import Bundle, note_if_strange, read_golden
from cxredge.data.images import load_grey
from cxredge.data.inputs import check_inputs, walk_images
from cxredge.errors import DataError, ImageError
from cxredge.progress import Progress
from cxredge.targets.detect import read_board
from cxredge.telemetry.jetson import JetsonState, read_jetson
from cxredge.telemetry.linux import process_age_ms, read_state
from cxredge.telemetry.sampling import Sampler
from cxredge.vocabulary import HarnessChoice, MemoryChoice, Scenario

_MAX_IMAGES = 256
_LEAST_PROBES = 3


@dataclass(frozen=True)
class BenchConfig:
    """The settings of one measurement.

    Attributes:
        scenario: How queries arrive.
        seconds: Least time that is measured.
        queries: Least number of queries, in offline of batches; None for what the scenario asks.
        warm_up: Untimed queries before; LoadGen has at least three, to know what to expect.
        threads: Threads of one inference; 0 for what was found best on this machine.
        harness: Who sends the queries.
        memory: How images reach a GPU; None for the backend's own way.
        cuda_graphs: Whether a GPU's work is recorded; None for the backend's own way.
        layers: Whether an engine's layers are timed one by one besides.
        raw: Whether the result holds every query's latency, not a thinned list.
        loadgen_logs: Where LoadGen's own files are kept; None to drop them.
    """

    scenario: Scenario
    seconds: float
    queries: int | None = None
    warm_up: int = 50
    threads: int = 0
    harness: HarnessChoice = HarnessChoice.AUTO
    memory: MemoryChoice | None = None
    cuda_graphs: bool | None = None
    layers: bool = False
    raw: bool = False
    loadgen_logs: Path | None = None


def bench(
    bundle: Bundle,
    images: Sequence[Path],
    config: BenchConfig,
    progress: Progress,
    labelled: Labelled | None = None,
) -> dict[str, Any]:
    """Measure a bundle on this machine, and judge the answers of the same session.

    A query is timed from the files (read, decode, preprocess, compute, post) when images are
    given; without images, from the bundle's golden pixels in memory (compute, post).

    Args:
        bundle: What to measure.
        images: Files and folders to read; at most 256 images are used.
        config: The settings.
        progress: Hears of queries done.
        labelled: Images with their classes, for the accuracy.

    Returns:
        A JSON value; ``result.describe`` says what it holds.

    Raises:
        CxredgeError: No image can be read, or what was asked for is not possible here.
    """
    age_ms = process_age_ms()
    note_if_strange(bundle, progress)
    if config.layers:
        gpu.check_has_engine(bundle)
    on_gpu = gpu.options_of(config.memory, config.cuda_graphs)
    began = time.perf_counter()
    with _open(bundle, config, on_gpu) as session:
        load_ms = (time.perf_counter() - began) * 1000
        samples = _samples(bundle, images, session.spec.size)
        first_ms = _first_inference(session, samples[0])
        with Workload(session, samples) as workload:
            warm_up_ms = _warm_up(workload, config)
            before, board_before = read_state(), _board_state()
            with Sampler(jetson=board_before is not None) as sampler:
                measured = _send(workload, config, warm_up_ms, progress)
            after, board_after = read_state(), _board_state()
            cascade = session.cascade
        stages_ms = {**workload.stages, **split_stages(session, read_golden(bundle).pixels)}
        found = describe(
            bundle,
            session,
            Circumstances(
                scenario=config.scenario,
                different_images=len(samples),
                timed=tuple(workload.stages),
                warm_up_queries=len(warm_up_ms),
                cascade=cascade,
                cold_start_ms={"process": age_ms, "load": load_ms, "first_inference": first_ms},
                before=before,
                after=after,
                board_before=board_before,
                board_after=board_after,
                during=sampler,
                raw=config.raw,
            ),
            measured,
            stages_ms,
            measure_accuracy(session, bundle, labelled, progress),
        )
    return {**found, **_on_gpu(bundle, config)}


def _on_gpu(bundle: Bundle, config: BenchConfig) -> dict[str, Any]:
    """Return what is asked of a GPU beside the queries; None where it was not."""
    pixels = read_golden(bundle).pixels
    both = config.memory is MemoryChoice.BOTH
    return {
        "memory_ms": gpu.compare_memory(bundle, pixels, config.cuda_graphs) if both else None,
        "layers_ms": gpu.time_layers(bundle, pixels) if config.layers else None,
    }


def _open(bundle: Bundle, config: BenchConfig, on_gpu: SessionOptions | None) -> Session:
    """Load the engine as it is best for the scenario, unless something else is asked for."""
    if config.scenario is Scenario.OFFLINE and not config.threads and on_gpu is None:
        return bundle.open_for_many()
    return bundle.open(threads=config.threads, gpu=on_gpu)


def _samples(bundle: Bundle, images: Sequence[Path], size: int) -> list[Sample]:
    if not images:
        return list(read_golden(bundle).pixels)
    check_inputs(images)
    readable: list[Sample] = []
    for source in walk_images(images, Counter()):
        try:
            load_grey(source, size)
        except ImageError:
            continue
        readable.append(source)
        if len(readable) == _MAX_IMAGES:
            break
    if not readable:
        raise DataError("None of the images given could be read.", "Give other --images.")
    return readable


def _first_inference(session: Session, sample: Sample) -> float:
    pixels = sample if isinstance(sample, np.ndarray) else load_grey(sample, session.spec.size)
    began = time.perf_counter()
    session.infer(pixels[None])
    return (time.perf_counter() - began) * 1000


def _uses_loadgen(choice: HarnessChoice) -> bool:
    return choice is HarnessChoice.LOADGEN or (
        choice is HarnessChoice.AUTO and loadgen.is_installed()
    )


def _warm_up(workload: Workload, config: BenchConfig) -> list[float]:
    """Answer untimed queries and return how long each took, in milliseconds."""
    count = max(config.warm_up, _LEAST_PROBES) if _uses_loadgen(config.harness) else config.warm_up
    rules = RULES[config.scenario]
    taken = builtin.send_queries(workload, rules, 0, count, lambda _: None).queries_ms
    workload.forget()
    return taken


def _send(
    workload: Workload, config: BenchConfig, warm_up_ms: list[float], progress: Progress
) -> Measured:
    rules = RULES[config.scenario]
    queries = config.queries or rules.queries
    with progress.task("Measuring", None) as advance, tempfile.TemporaryDirectory() as temporary:
        if not _uses_loadgen(config.harness):
            return builtin.send_queries(workload, rules, config.seconds, queries, advance)
        logs = config.loadgen_logs or Path(temporary)
        logs.mkdir(parents=True, exist_ok=True)
        expected_ms = float(np.median(warm_up_ms))
        return loadgen.send_queries(
            workload, config.scenario, rules, config.seconds, queries, advance, expected_ms, logs
        )


def _board_state() -> JetsonState | None:
    return read_jetson() if read_board().is_jetson else None
