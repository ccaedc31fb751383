"""Results and passports made by hand: records, and their JSON values with a few changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cxredge.artifacts.records import to_json
from cxredge.metrics.classification import ReliabilityBin, wilson
from cxredge.metrics.latency import Latency
from cxredge.results.bench import (
    BenchResult,
    ColdStart,
    Comparability,
    GoldenReplay,
    QueryCount,
    Score,
    SessionAccuracy,
    States,
)
from cxredge.results.evaluation import ChangedDecision, ClassMetrics, Evaluation, RocCurve
from cxredge.telemetry.linux import Machine, MachineState
from cxredge.telemetry.sampling import Range, SamplingSummary
from cxredge.vocabulary import Precision, Scenario, Split

Interval = tuple[float, float]

CALM = MachineState(
    governor="performance",
    frequency_mhz=1500.0,
    temperature_c=50.0,
    load_1min=0.1,
    memory_available_mb=4000,
    steal_ticks=5,
    throttle_count=0,
    process_memory_mb=200,
)
SAMPLES = SamplingSummary(
    samples=8,
    interval_s=0.5,
    reading_ms_per_sample=1.2,
    frequency_mhz=Range(1500.0, 1500.0, 1500.0),
    temperature_c=None,
    load_1min=None,
    memory_available_mb=None,
    process_memory_mb=None,
    gpu_clock_mhz=None,
    power_mw=None,
)


def machine(cpu: str = "AMD EPYC", cores: int = 2) -> Machine:
    return Machine("Linux 6.1", "x86_64", cpu, cores, ("avx2",), 25000, True)


BOARD, SERVER = machine("Cortex-A78AE", 6), machine()


def latency(p50: float, ci95: Interval | None = None, **changes: Any) -> Latency:
    """Return latencies whose percentiles are all ``p50``, unless changed."""
    interval = ci95 or (p50, p50)
    values = Latency(2000, p50, p50, p50, p50, interval, interval, interval, 0.02)
    return replace(values, **changes)


def class_metrics(sensitivity: float | None = None, ci95: Interval | None = None) -> ClassMetrics:
    return ClassMetrics(
        images=40,
        threshold=0.5,
        auroc=None,
        auroc_ci95=(None, None),
        sensitivity=sensitivity,
        sensitivity_ci95=ci95,
        specificity=None,
        specificity_ci95=None,
        recall=None,
        recall_ci95=None,
    )


def evaluation(accuracy: float, ci95: Interval, **changes: Any) -> Evaluation:
    """Return an evaluation with an accuracy and no other metric, unless changed."""
    found = Evaluation(
        bundle_sha256="0" * 64,
        manifest_sha256="ab" * 32,
        network="mobilenet_v1",
        precision=Precision.FP32,
        backend="onnxruntime",
        split=Split.TEST,
        images=160,
        patients=100,
        classes=("covid19", "viral"),
        accuracy=accuracy,
        accuracy_ci95=ci95,
        macro_f1=None,
        macro_f1_ci95=(None, None),
        auroc=None,
        auroc_ci95=(None, None),
        calibration_error=None,
        calibration_error_ci95=(None, None),
        by_class={},
        sensitivity={},
        confusion=((40, 40), (40, 40)),
        agreement_fp32=1.0,
        agreement_fp32_ci95=(0.9, 1.0),
        accuracy_fp32=accuracy,
        accuracy_difference_fp32=0.0,
        accuracy_difference_fp32_ci95=(0.0, 0.0),
        flipped=(),
        reliability=(),
        roc={},
    )
    return replace(found, **changes)


ROW = ClassMetrics(
    images=80,
    threshold=0.5,
    auroc=0.625,
    auroc_ci95=(0.6, 0.65),
    sensitivity=0.75,
    sensitivity_ci95=wilson(60, 80),
    specificity=0.5,
    specificity_ci95=wilson(40, 80),
    recall=0.5,
    recall_ci95=wilson(40, 80),
)
CURVE = RocCurve(false_positive_rate=(0.0, 0.5, 1.0), true_positive_rate=(0.0, 0.75, 1.0))
EVALUATION = evaluation(
    0.5,
    wilson(80, 160),
    macro_f1=0.5,
    auroc=0.625,
    calibration_error=0.05,
    accuracy_fp32=81 / 160,
    accuracy_difference_fp32=-1 / 160,
    agreement_fp32=159 / 160,
    agreement_fp32_ci95=wilson(159, 160),
    by_class={"covid19": ROW, "viral": ROW},
    sensitivity={"covid19": 0.75, "viral": 0.75},
    flipped=(
        ChangedDecision(
            index=7,
            label="viral",
            fp32="viral",
            now="covid19",
            probability_fp32=0.51,
            probability_now=0.5,
        ),
    ),
    reliability=(ReliabilityBin(0.5, 0.6, 160, 0.55, 0.5),),
    roc={"covid19": CURVE, "viral": CURVE},
)
"""An evaluation whose figures derive from its confusion matrix."""


def bench(p50: float, ci95: Interval | None = None, **changes: Any) -> BenchResult:
    """Return a comparable result of a Jetson whose percentiles are all ``p50``."""
    golden = GoldenReplay(
        precision=Precision.INT8,
        expected=Precision.INT8,
        images=12,
        max_logit_difference=0.0,
        max_probability_difference=0.0,
        classes_changed=0,
        passed=True,
        agreement_fp32=1.0,
        agreement_fp32_ci95=(0.75, 1.0),
    )
    found = BenchResult(
        bundle_sha256="0" * 64,
        engine_sha256="1" * 64,
        network="mobilenet_v1",
        precision=Precision.INT8,
        backend="onnxruntime",
        threads=1,
        target="jetson-orin-nano",
        input_size=224,
        preprocessing="grey-square/2",
        engine=None,
        scenario=Scenario.SINGLE_STREAM,
        samples_per_query=1,
        harness="builtin",
        loadgen=None,
        mlperf_shortfalls=(),
        timed=("compute", "post"),
        images=12,
        score=Score(
            metric="latency_ms", percentile=90, value=p50, ci95=(p50, p50), early_stopping_ms=None
        ),
        latency_ms=latency(p50, ci95),
        throughput=200.0,
        stages_ms={"compute": latency(p50, ci95)},
        cold_start_ms=ColdStart(process=None, load=100.0, first_inference=5.0),
        histogram_ms=(p50,),
        drift=1.0,
        seconds=10.0,
        queries=QueryCount(count=2000, needed=1000, samples=2000),
        warm_up_queries=50,
        machine=SERVER,
        peak_memory_mb=200,
        state=States(before=CALM, during=SAMPLES, after=CALM),
        jetson=None,
        energy=None,
        accuracy=SessionAccuracy(golden=golden),
        tools={"cxredge": "0.1.0"},
        verdict=Comparability.given(()),
    )
    return replace(found, **changes)


def changed(record: object, *keys: str, to: Any) -> dict[str, Any]:
    """Return a record's JSON values with one of them replaced."""
    values: dict[str, Any] = to_json(record)
    inner: Any = values
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to
    return values
