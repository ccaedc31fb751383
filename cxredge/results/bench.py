"""Result of ``cxredge bench``: latency and throughput with their circumstances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from cxredge.artifacts.records import (
    UNSET,
    Count,
    NonNegative,
    Sha256,
    Share,
    Threads,
    UnsetType,
)
from cxredge.backends.base import CascadeCounts, EngineRun, LayerTime
from cxredge.metrics.latency import Latency
from cxredge.results.evaluation import Interval
from cxredge.telemetry.energy import EnergyPerImage
from cxredge.telemetry.jetson import JetsonState
from cxredge.telemetry.linux import Machine, MachineState
from cxredge.telemetry.sampling import SamplingSummary
from cxredge.vocabulary import Precision, Scenario, Split

NOT_THE_TARGET = "this machine is not the target"
"""First words of the reason against comparing a result of another machine than the target."""


@dataclass(frozen=True, kw_only=True)
class LoadGenReport:
    """Results that MLPerf LoadGen reports; None for those that it does not report.

    Attributes:
        version: Version of LoadGen.
        valid: Whether LoadGen considers the run valid.
        invalid_reason: Reason if invalid; empty for a valid run.
        queries: Number of queries.
        percentile_ms: Latency at the scenario's percentile.
        early_stopping_ms: Early-stopping estimate of that percentile.
        samples_per_second: Throughput, in offline.
        min_duration_met: Whether the run took as long as required.
        early_stopping_met: Whether there were enough queries for the estimate.
    """

    version: str
    valid: bool
    invalid_reason: str
    queries: Count | None
    percentile_ms: NonNegative | None
    early_stopping_ms: NonNegative | None
    samples_per_second: NonNegative | None
    min_duration_met: bool | None
    early_stopping_met: bool | None


@dataclass(frozen=True, kw_only=True)
class Score:
    """The metric that counts in a scenario.

    Attributes:
        metric: Latency at a percentile, or throughput.
        percentile: The percentile; None for throughput.
        value: Milliseconds, or samples per second.
        ci95: 95% interval of a block bootstrap.
        early_stopping_ms: MLPerf's early-stopping estimate; None with too few queries.
    """

    metric: Literal["latency_ms", "samples_per_second"]
    percentile: Count | None
    value: NonNegative
    ci95: Interval
    early_stopping_ms: NonNegative | None


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """Milliseconds until the first result.

    Attributes:
        process: From the start of the process to the start of the measurement, including Python
            and its imports; None if unreadable.
        load: Opening the session.
        first_inference: First inference of one image.
    """

    process: float | None
    load: NonNegative
    first_inference: NonNegative


@dataclass(frozen=True, kw_only=True)
class QueryCount:
    """Number of queries.

    Attributes:
        count: Queries; in offline, batches.
        needed: Queries required for comparable metrics.
        samples: Images.
    """

    count: Count
    needed: Count
    samples: Count


@dataclass(frozen=True, kw_only=True)
class States:
    """State of the machine before, during and after the queries."""

    before: MachineState
    during: SamplingSummary
    after: MachineState


@dataclass(frozen=True, kw_only=True)
class BoardStates:
    """State of a Jetson before and after the queries."""

    before: JetsonState
    after: JetsonState


@dataclass(frozen=True, kw_only=True)
class GoldenReplay:
    """Comparison of the golden images on this machine with their expected outputs.

    Attributes:
        precision: Precision of the session.
        expected: Precision of the expected outputs.
        images: Number of golden images.
        max_logit_difference: Largest difference of a logit.
        max_probability_difference: Largest difference of a probability.
        classes_changed: Number of images with another top class.
        passed: Whether this machine computes the expected outputs.
        agreement_fp32: Share of golden images classified as in FP32.
        agreement_fp32_ci95: Wilson's 95% interval.
        max_distance_difference: Largest difference of a distance, as a share of the expected one;
            None without distances.
        refusals_changed: Number of images that are unfamiliar only here, or only at the build; None
            without distances.
        max_map_difference: Largest difference of the mean of a class activation map plus bias from
            its logit, as a share of the largest logit; None without maps.
    """

    precision: Precision
    expected: Precision
    images: Count
    max_logit_difference: NonNegative
    max_probability_difference: NonNegative
    classes_changed: Count
    passed: bool
    agreement_fp32: Share
    agreement_fp32_ci95: Interval
    max_distance_difference: NonNegative | None = None
    refusals_changed: Count | None = None
    max_map_difference: NonNegative | None = None


@dataclass(frozen=True, kw_only=True)
class SessionAccuracy:
    """Accuracy of the session that was timed; all but ``golden`` need labelled images.

    Attributes:
        golden: Replay of the golden images.
        accuracy: Share of images classified correctly; None without labelled images.
        accuracy_ci95: Wilson's 95% interval.
        images: Number of images.
        patients: Number of patients.
        split: Split of the manifest.
        manifest_sha256: SHA-256 of the manifest.
        warnings: Warnings of the data audit.
    """

    golden: GoldenReplay
    accuracy: Share | None = None
    accuracy_ci95: Interval | UnsetType = UNSET
    images: Count | UnsetType = UNSET
    patients: Count | UnsetType = UNSET
    split: Split | UnsetType = UNSET
    manifest_sha256: Sha256 | UnsetType = UNSET
    warnings: tuple[str, ...] | UnsetType = UNSET


@dataclass(frozen=True)
class Comparability:
    """Comparability of a result with other results.

    Attributes:
        comparable: Whether the result can be compared.
        reasons: Reasons against a comparison, each a sentence without its full stop.
    """

    comparable: bool
    reasons: tuple[str, ...]

    @classmethod
    def given(cls, reasons: Iterable[str]) -> Comparability:
        """Return the verdict that follows from the reasons found."""
        found = tuple(reasons)
        return cls(not found, found)


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """Latency and throughput of a bundle on one machine.

    Attributes:
        schema: Format of the file.
        bundle_sha256: SHA-256 of the bundle's card.
        engine_sha256: SHA-256 of the model or engine.
        network: Name in the zoo.
        precision: Precision that was measured.
        backend: Runtime.
        threads: Number of threads per inference; 0 if the runtime does not use it.
        target: Target of the bundle.
        input_size: Height and width of the input in pixels.
        preprocessing: Version of the preprocessing function.
        engine: Circumstances of a TensorRT engine; None on a processor.
        scenario: Arrival of the queries.
        samples_per_query: Images per query; in offline, per batch.
        harness: Sender of the queries.
        loadgen: Report of LoadGen; None with the built-in harness.
        mlperf_shortfalls: Differences from the requirements of an MLPerf submission.
        timed: Stages of a query.
        images: Number of different images.
        cascade: Number of near ties that FP32 decided since the first inference; None without a
            cascade.
        score: The metric that counts in the scenario.
        latency_ms: Latency of queries; in offline, time between finished batches.
        throughput: Images per second.
        stages_ms: Latency by stage.
        cold_start_ms: Time until the first result.
        histogram_ms: Latencies in order, rounded; every n-th if there are many.
        drift: Median latency of the second half over that of the first.
        seconds: Duration of the measurement.
        queries: Number of queries.
        warm_up_queries: Untimed queries before.
        machine: The machine.
        peak_memory_mb: Peak resident memory of the process, in MB (10^6 bytes).
        state: State of the machine.
        jetson: State of the board; None on other machines.
        energy: Energy used; None if it cannot be read.
        accuracy: Accuracy of the same session.
        tools: Versions of the software.
        verdict: Whether the result can be compared with others.
        on_target: Whether the machine is the target of the bundle; UNSET in results of older
            versions.
        memory_ms: Latency by way to reach the GPU's memory, if compared.
        layers_ms: Time by engine layer, slowest first, if profiled.
        content_sha256: SHA-256 of the other keys; UNSET in results of older versions.
    """

    schema: Literal["cxredge.bench/1"] = "cxredge.bench/1"
    bundle_sha256: Sha256
    engine_sha256: Sha256
    network: str
    precision: Precision
    backend: str
    threads: Threads
    target: str
    input_size: Count
    preprocessing: str
    engine: EngineRun | None
    scenario: Scenario
    samples_per_query: Count
    harness: Literal["builtin", "loadgen"]
    loadgen: LoadGenReport | None
    mlperf_shortfalls: tuple[str, ...]
    timed: tuple[str, ...]
    images: Count
    cascade: CascadeCounts | None = None
    score: Score
    latency_ms: Latency
    throughput: NonNegative
    stages_ms: Mapping[str, Latency]
    cold_start_ms: ColdStart
    histogram_ms: tuple[NonNegative, ...]
    drift: NonNegative | None
    seconds: NonNegative
    queries: QueryCount
    warm_up_queries: Count
    machine: Machine
    peak_memory_mb: Count
    state: States
    jetson: BoardStates | None
    energy: EnergyPerImage | None
    accuracy: SessionAccuracy
    tools: Mapping[str, str]
    verdict: Comparability
    on_target: bool | UnsetType = UNSET
    memory_ms: Mapping[str, Latency] | None = None
    layers_ms: tuple[LayerTime, ...] | None = None
    content_sha256: Sha256 | UnsetType = UNSET

    @property
    def measured_on_target(self) -> bool:
        """Whether the machine is the target; older versions state it in the verdict only."""
        if isinstance(self.on_target, bool):
            return self.on_target
        return not any(reason.startswith(NOT_THE_TARGET) for reason in self.verdict.reasons)
