"""The result of a measurement: metrics, circumstances and verdict."""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cxredge.artifacts.card import CARD_NAME, tool_versions
from cxredge.artifacts.hashing import sha256_of_file
from cxredge.backends.base import AcceleratorSession, CascadeCounts, Session
from cxredge.bench.scenarios import RULES, HarnessRun, mlperf_shortfalls, score
from cxredge.bundle.bundle import Bundle
from cxredge.comparison.comparability import judge
from cxredge.data.images import PREPROCESSING
from cxredge.metrics.latency import Latency, summarise
from cxredge.results.bench import (
    NOT_THE_TARGET,
    BenchResult,
    BoardStates,
    ColdStart,
    Comparability,
    QueryCount,
    SessionAccuracy,
    States,
)
from cxredge.targets.registry import find_target, is_here
from cxredge.telemetry.jetson import reasons_not_to_compare
from cxredge.telemetry.linux import read_machine
from cxredge.telemetry.sampling import Sampler
from cxredge.vocabulary import Scenario

_MAX_HISTOGRAM_VALUES = 2000
_STAGE_ORDER = (
    "read", "decode", "preprocess", "host_to_device", "compute", "device_to_host", "post",
)  # fmt: skip


@dataclass(frozen=True)
class Circumstances:
    """Circumstances of the queries.

    Attributes:
        scenario: Arrival of the queries.
        different_images: Number of different images.
        timed: Stages of a query.
        warm_up_queries: Number of untimed queries before.
        cascade: Number of near ties that FP32 decided since the first inference; None without a
            cascade.
        cold_start_ms: Time until the first result.
        state: State of the machine.
        boards: State of the Jetson; None on other machines.
        sampler: Samples taken during the queries.
        raw: Whether to keep every latency.
    """

    scenario: Scenario
    different_images: int
    timed: tuple[str, ...]
    warm_up_queries: int
    cascade: CascadeCounts | None
    cold_start_ms: ColdStart
    state: States
    boards: BoardStates | None
    sampler: Sampler
    raw: bool


def make_result(
    bundle: Bundle,
    session: Session,
    circumstances: Circumstances,
    run: HarnessRun,
    stages_ms: Mapping[str, Sequence[float]],
    accuracy: SessionAccuracy,
) -> BenchResult:
    """Return the result of a measurement, with the verdict whether it can be compared.

    Args:
        bundle: The bundle.
        session: The session that was timed.
        circumstances: Circumstances of the queries.
        run: The queries.
        stages_ms: Milliseconds of each call, by stage.
        accuracy: Accuracy of the session.
    """
    primary, boards, scenario = session.primary, circumstances.boards, circumstances.scenario
    rules = RULES[scenario]
    energy = circumstances.sampler.energy()
    result = BenchResult(
        bundle_sha256=sha256_of_file(bundle.path / CARD_NAME),
        engine_sha256=sha256_of_file(bundle.engine),
        network=bundle.card.classifier.network,
        precision=bundle.precision,
        backend=session.spec.backend,
        threads=session.spec.threads,
        target=bundle.card.config.target,
        input_size=session.spec.size,
        preprocessing=PREPROCESSING,
        engine=primary.circumstances() if isinstance(primary, AcceleratorSession) else None,
        scenario=scenario,
        samples_per_query=rules.samples,
        harness="builtin" if run.loadgen is None else "loadgen",
        loadgen=run.loadgen,
        mlperf_shortfalls=mlperf_shortfalls(scenario, run),
        timed=circumstances.timed,
        images=circumstances.different_images,
        cascade=circumstances.cascade,
        score=score(rules, run),
        latency_ms=summarise(run.queries_ms).rounded(),
        throughput=round(run.samples / run.seconds, 3),
        stages_ms=_by_stage(stages_ms),
        cold_start_ms=circumstances.cold_start_ms,
        histogram_ms=_thin(run.queries_ms, circumstances.raw),
        drift=_drift(run.queries_ms),
        seconds=round(run.seconds, 3),
        queries=QueryCount(count=len(run.queries_ms), needed=rules.queries, samples=run.samples),
        warm_up_queries=circumstances.warm_up_queries,
        machine=read_machine(),
        peak_memory_mb=_peak_memory_mb(),
        state=circumstances.state,
        jetson=boards,
        energy=energy.per_image(run.samples) if energy else None,
        accuracy=accuracy,
        tools=tool_versions("onnxruntime", "openvino", "numpy", "pillow"),
        verdict=Comparability.given(()),
        on_target=is_here(find_target(bundle.card.config.target)),
    )
    reasons = [*_target_reasons(result), *_golden_reasons(accuracy)]
    if boards is not None:
        reasons += reasons_not_to_compare(boards.before, boards.after)
    return replace(result, verdict=judge(result, reasons))


def _by_stage(stages_ms: Mapping[str, Sequence[float]]) -> dict[str, Latency]:
    return {
        stage: summarise(stages_ms[stage]).rounded() for stage in _STAGE_ORDER if stage in stages_ms
    }


def _peak_memory_mb() -> int:
    # Linux reports the peak in kB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 1_000_000


def _target_reasons(result: BenchResult) -> list[str]:
    return [] if result.measured_on_target else [f"{NOT_THE_TARGET}, {result.target}"]


def _golden_reasons(accuracy: SessionAccuracy) -> list[str]:
    if accuracy.golden.passed:
        return []
    return ["the golden images have different results on this machine"]


def _drift(queries_ms: Sequence[float]) -> float | None:
    half = len(queries_ms) // 2
    if not half:
        return None
    return round(float(np.median(queries_ms[half:]) / np.median(queries_ms[:half])), 4)


def _thin(queries_ms: Sequence[float], raw: bool) -> tuple[float, ...]:
    step = 1 if raw else max(1, -(-len(queries_ms) // _MAX_HISTOGRAM_VALUES))
    return tuple(round(milliseconds, 4) for milliseconds in queries_ms[::step])
