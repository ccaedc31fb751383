"""One measurement, from opening the session to the result."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cxredge.artifacts.temporary import scratch_folder
from cxredge.backends.base import Session
from cxredge.backends.batched import check_finite
from cxredge.bench import builtin, gpu, loadgen
from cxredge.bench.accuracy import LabelledSplit, measure_accuracy
from cxredge.bench.device_stages import time_device_stages
from cxredge.bench.result import Circumstances, make_result
from cxredge.bench.scenarios import RULES, HarnessRun
from cxredge.bench.workload import Sample, Workload
from cxredge.bundle.bundle import Bundle, note_if_strange, read_golden
from cxredge.data.images import load_xray
from cxredge.data.inputs import check_inputs, walk_images
from cxredge.errors import DataError, ImageError
from cxredge.progress import Progress
from cxredge.results.bench import BenchResult, BoardStates, ColdStart, States
from cxredge.targets.detect import read_board
from cxredge.telemetry.jetson import JetsonState, read_jetson
from cxredge.telemetry.linux import process_age_ms, read_state
from cxredge.telemetry.sampling import Sampler
from cxredge.vocabulary import HarnessChoice, MemoryChoice, Scenario

_MAX_IMAGES = 256
_MIN_LOADGEN_WARM_UP = 3


@dataclass(frozen=True)
class BenchConfig:
    """Configuration of a measurement.

    Attributes:
        scenario: Arrival of the queries.
        seconds: Minimum duration.
        queries: Minimum number of queries, in offline of batches; None for that of the scenario.
        warm_up: Number of untimed queries before; at least three with LoadGen, which needs to know
            the expected latency.
        threads: Number of threads per inference; 0 for the number found best on this machine.
        harness: Sender of the queries.
        memory: Transfer of images to a GPU; None for the backend's default.
        cuda_graphs: Whether to use CUDA graphs; None for the backend's default.
        layers: Whether to time each layer of an engine too.
        raw: Whether to keep every latency instead of every n-th.
        loadgen_logs: Folder that keeps LoadGen's own files; None to delete them.
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
    labelled: LabelledSplit | None = None,
) -> BenchResult:
    """Measure a bundle on this machine, with the accuracy of the same session.

    With images, a query is timed from the files: read, decode, preprocess, compute, post. Without
    images, it is timed from the bundle's golden pixels in memory: compute, post.

    Args:
        bundle: The bundle.
        images: Files and folders to read; at most 256 images are used.
        config: Configuration.
        progress: Progress listener.
        labelled: Labelled images for the accuracy.

    Raises:
        CxredgeError: No image can be read, or an option is not possible on this machine.
    """
    age_ms = process_age_ms()
    note_if_strange(bundle, progress)
    if config.layers:
        gpu.check_has_engine(bundle)
    began = time.perf_counter()
    with _open(bundle, config) as session:
        load_ms = (time.perf_counter() - began) * 1000
        samples = _samples(bundle, images, session.spec.size)
        cold_start = ColdStart(
            process=None if age_ms is None else round(age_ms, 2),
            load=round(load_ms, 2),
            first_inference=round(_first_inference_ms(session, samples[0]), 2),
        )
        with Workload(session, samples) as workload:
            run, circumstances = _measure(workload, session, config, cold_start, progress)
        golden = read_golden(bundle).pixels
        stages_ms = {**workload.stages, **time_device_stages(session, golden)}
        accuracy = measure_accuracy(session, bundle, labelled, progress)
        result = make_result(bundle, session, circumstances, run, stages_ms, accuracy)
    compare_memory = config.memory is MemoryChoice.BOTH
    return replace(
        result,
        memory_ms=gpu.compare_memory(bundle, golden, config.cuda_graphs)
        if compare_memory
        else None,
        layers_ms=gpu.time_layers(bundle, golden) if config.layers else None,
    )


def _measure(
    workload: Workload,
    session: Session,
    config: BenchConfig,
    cold_start: ColdStart,
    progress: Progress,
) -> tuple[HarnessRun, Circumstances]:
    """Warm up, then send the queries while the machine's state is sampled."""
    warm_up_ms = _warm_up(workload, config)
    before, board_before = read_state(), _board_state()
    with Sampler(jetson=board_before is not None) as sampler:
        run = _send(workload, config, warm_up_ms, progress)
    after, board_after = read_state(), _board_state()
    boards = (
        BoardStates(before=board_before, after=board_after)
        if (board_before and board_after)
        else None
    )
    return run, Circumstances(
        scenario=config.scenario,
        different_images=len(workload),
        timed=tuple(workload.stages),
        warm_up_queries=len(warm_up_ms),
        cascade=session.cascade,
        cold_start_ms=cold_start,
        state=States(before=before, during=sampler.summary(), after=after),
        boards=boards,
        sampler=sampler,
        raw=config.raw,
    )


def _open(bundle: Bundle, config: BenchConfig) -> Session:
    """Open the session with the best settings for the scenario, unless options say otherwise."""
    options = gpu.session_options(config.memory, config.cuda_graphs)
    if config.scenario is Scenario.OFFLINE and not config.threads and options is None:
        return bundle.open_for_many()
    return bundle.open(threads=config.threads, gpu=options)


def _samples(bundle: Bundle, images: Sequence[Path], size: int) -> list[Sample]:
    if not images:
        return list(read_golden(bundle).pixels)
    check_inputs(images)
    readable: list[Sample] = []
    for source in walk_images(images, Counter()):
        try:
            load_xray(source, size)
        except ImageError:
            continue
        readable.append(source)
        if len(readable) == _MAX_IMAGES:
            break
    if not readable:
        raise DataError("None of the images given could be read.", "Give other --images.")
    return readable


def _first_inference_ms(session: Session, sample: Sample) -> float:
    pixels = (
        sample if isinstance(sample, np.ndarray) else load_xray(sample, session.spec.size).pixels
    )
    began = time.perf_counter()
    logits = session.infer(pixels[None])
    elapsed_ms = (time.perf_counter() - began) * 1000
    check_finite(logits, f"The network in {session.spec.backend}")
    return elapsed_ms


def _uses_loadgen(choice: HarnessChoice) -> bool:
    return choice is HarnessChoice.LOADGEN or (
        choice is HarnessChoice.AUTO and loadgen.is_installed()
    )


def _warm_up(workload: Workload, config: BenchConfig) -> list[float]:
    """Answer untimed queries; return the latency of each in milliseconds."""
    least = _MIN_LOADGEN_WARM_UP if _uses_loadgen(config.harness) else 0
    count, rules = max(config.warm_up, least), RULES[config.scenario]
    taken = builtin.send_queries(workload, rules, 0, count, lambda _: None).queries_ms
    workload.forget()
    return taken


def _send(
    workload: Workload, config: BenchConfig, warm_up_ms: list[float], progress: Progress
) -> HarnessRun:
    rules = RULES[config.scenario]
    queries = config.queries or rules.queries
    with progress.task("Measuring", None) as advance, scratch_folder("bench") as scratch:
        if not _uses_loadgen(config.harness):
            return builtin.send_queries(workload, rules, config.seconds, queries, advance)
        logs = config.loadgen_logs or scratch
        logs.mkdir(parents=True, exist_ok=True)
        expected_ms = float(np.median(warm_up_ms))
        return loadgen.send_queries(
            workload, config.scenario, rules, config.seconds, queries, advance, expected_ms, logs
        )


def _board_state() -> JetsonState | None:
    return read_jetson() if read_board().is_jetson else None
