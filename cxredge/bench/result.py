"""What was measured, under which circumstances, and what it is worth, as one JSON value."""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxredge.artifacts.card import CARD_NAME, sha256_of_file, tool_versions
from cxredge.artifacts.records import to_json
from cxredge.backends.base import AcceleratorSession, CascadeCounts, Session
from cxredge.bench.scenarios import RULES, Measured, mlperf_shortfalls, score
from cxredge.bundle.bundle import Bundle
from cxredge.comparison.comparability import judge
from cxredge.data.images import PREPROCESSING
from cxredge.metrics.latency import summarise
from cxredge.targets.registry import find_target, is_here
from cxredge.telemetry.jetson import JetsonState, reasons_not_to_compare
from cxredge.telemetry.linux import MachineState, read_machine
from cxredge.telemetry.sampling import Sampler
from cxredge.vocabulary import Scenario

SCHEMA = "cxredge.bench/1"
_MOST_IN_HISTOGRAM = 2000
_STAGE_ORDER = (
    "read", "decode", "preprocess", "host_to_device", "compute", "device_to_host", "post",
)  # fmt: skip


@dataclass(frozen=True)
class Circumstances:
    """What has to be known beside the times.

    Attributes:
        scenario: How queries arrived.
        different_images: How many images took turns.
        timed: The stages that a query is made of.
        warm_up_queries: Untimed queries before.
        cascade: Near ties that FP32 decided, from the first inference on; None where the engine
            decides all.
        cold_start_ms: ``process``: from its start to the measurement's, with Python and imports;
            ``load``: opening the session; ``first_inference``: of one image.
        before, after: The machine around the queries.
        board_before, board_after: The Jetson around the queries; None elsewhere.
        during: What was sampled meanwhile.
        raw: Whether every latency is wanted.
    """

    scenario: Scenario
    different_images: int
    timed: Sequence[str]
    warm_up_queries: int
    cascade: CascadeCounts | None
    cold_start_ms: Mapping[str, float | None]
    before: MachineState
    after: MachineState
    board_before: JetsonState | None
    board_after: JetsonState | None
    during: Sampler
    raw: bool


def describe(
    bundle: Bundle,
    session: Session,
    circumstances: Circumstances,
    measured: Measured,
    stages_ms: Mapping[str, Sequence[float]],
    accuracy: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the result of a measurement.

    Returns:
        ``score``: the figure that counts in the scenario, with a bootstrap interval and MLPerf's
        early-stopping estimate. ``latency_ms``: of queries, in offline the time between finished
        batches. ``throughput``: images a second. ``stages_ms``, ``cold_start_ms``, ``drift``:
        median of the second half over that of the first. ``state``: before, during and after.
        ``energy``: None where it cannot be read. ``accuracy``: of the same session. ``verdict``.
    """
    rules = RULES[circumstances.scenario]
    latency = summarise(measured.queries_ms)
    result = {
        "schema": SCHEMA,
        **_subject(bundle, session),
        "scenario": circumstances.scenario.value,
        "samples_per_query": rules.samples,
        "harness": "builtin" if measured.loadgen is None else "loadgen",
        "loadgen": measured.loadgen,
        "mlperf_shortfalls": mlperf_shortfalls(circumstances.scenario, measured),
        "timed": list(circumstances.timed),
        "images": circumstances.different_images,
        "cascade": to_json(circumstances.cascade),
        "score": score(rules, measured),
        "latency_ms": latency.to_json(),
        "throughput": round(measured.samples / measured.seconds, 3),
        "stages_ms": {
            name: summarise(stages_ms[name]).to_json() for name in _STAGE_ORDER if name in stages_ms
        },
        "cold_start_ms": {
            name: None if value is None else round(value, 2)
            for name, value in circumstances.cold_start_ms.items()
        },
        "histogram_ms": [round(v, 4) for v in _thin(measured.queries_ms, circumstances.raw)],
        "drift": _drift(measured.queries_ms),
        "seconds": round(measured.seconds, 3),
        "queries": {"count": latency.count, "needed": rules.queries, "samples": measured.samples},
        "warm_up_queries": circumstances.warm_up_queries,
        **_surroundings(circumstances, measured.samples),
        "accuracy": accuracy,
        "tools": tool_versions("onnxruntime", "openvino", "numpy", "pillow"),
    }
    reasons = [*_elsewhere(bundle), *_wrong(accuracy)]
    if circumstances.board_before and circumstances.board_after:
        reasons += reasons_not_to_compare(circumstances.board_before, circumstances.board_after)
    return {**result, "verdict": judge(result, reasons).to_json()}


def _subject(bundle: Bundle, session: Session) -> dict[str, Any]:
    """Return what was measured."""
    primary = session.primary
    return {
        "bundle_sha256": sha256_of_file(bundle.path / CARD_NAME),
        "engine_sha256": sha256_of_file(bundle.engine),
        "network": bundle.card.classifier.network,
        "precision": bundle.precision.value,
        "backend": session.spec.backend,
        "threads": session.spec.threads,
        "target": bundle.card.config.target,
        "input_size": session.spec.size,
        "preprocessing": PREPROCESSING,
        "engine": primary.circumstances() if isinstance(primary, AcceleratorSession) else None,
    }


def _surroundings(circumstances: Circumstances, images: int) -> dict[str, Any]:
    """Return the machine and its state before, during and after."""
    before, after = circumstances.board_before, circumstances.board_after
    energy = circumstances.during.energy()
    # Linux gives the peak in kB.
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 1_000_000
    return {
        "machine": to_json(read_machine()),
        "peak_memory_mb": peak_mb,
        "state": {
            "before": to_json(circumstances.before),
            "during": to_json(circumstances.during.summary()),
            "after": to_json(circumstances.after),
        },
        "jetson": {"before": to_json(before), "after": to_json(after)}
        if before and after
        else None,
        "energy": to_json(energy.per_image(images)) if energy else None,
    }


def _elsewhere(bundle: Bundle) -> list[str]:
    """Return the doubt that a bundle is measured on a machine that it was not built for."""
    name = bundle.card.config.target
    return [] if is_here(find_target(name)) else [f"this machine is not the target, {name}"]


def _wrong(accuracy: Mapping[str, Any]) -> list[str]:
    """Return the doubt that the engine does not compute what it should."""
    if accuracy["golden"]["passed"]:
        return []
    return ["the golden images come out differently on this machine"]


def _drift(queries_ms: Sequence[float]) -> float | None:
    half = len(queries_ms) // 2
    if not half:
        return None
    return round(float(np.median(queries_ms[half:]) / np.median(queries_ms[:half])), 4)


def _thin(values: Sequence[float], raw: bool) -> Sequence[float]:
    step = 1 if raw else max(1, -(-len(values) // _MOST_IN_HISTOGRAM))
    return values[::step]
