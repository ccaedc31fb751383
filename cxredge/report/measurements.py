"""All metrics of a bundle as numbers, one per row, for programs and spreadsheets."""

from __future__ import annotations

from collections.abc import Iterator

from cxredge.metrics.latency import SHARES
from cxredge.report import numbers
from cxredge.report.benches import bench_names, joules_per_image, machine_of, on_target
from cxredge.report.page import Measurement
from cxredge.report.reported_bundle import ReportedBundle
from cxredge.results.bench import BenchResult
from cxredge.results.evaluation import ClassMetrics, Evaluation, PartialInterval
from cxredge.vocabulary import Split

_Bounds = PartialInterval | None
_Estimate = tuple[str, float | None, PartialInterval | None]

_OVERALL = ("accuracy", "macro_f1", "auroc", "calibration_error", "agreement_fp32")
_OF_A_BENCH = (
    *((f"latency {percentile}", "ms") for percentile in SHARES),
    ("throughput", "images/s"),
    ("energy per image", "J"),
)


def measurements(reported: ReportedBundle) -> tuple[Measurement, ...]:
    """Return every metric with its interval; those not measured have no value."""
    rows: list[Measurement] = []
    for evaluation in reported.evaluations:
        rows += _of_evaluation(evaluation)
    if not reported.evaluations:
        rows += [Measurement(name, "", None, None, "1", "not measured") for name in _OVERALL]
    for name, bench in zip(bench_names(reported.benches), reported.benches, strict=True):
        rows += _of_bench(name, bench)
    if not reported.benches:
        rows += [
            Measurement(name, "", None, None, unit, "not measured") for name, unit in _OF_A_BENCH
        ]
    if reported.bundle is not None:
        size = reported.bundle.engine.stat().st_size
        rows.append(Measurement("size", "", size, None, "bytes", reported.bundle.engine.name))
    return tuple(rows)


def _of_evaluation(result: Evaluation) -> Iterator[Measurement]:
    measured = (
        f"{result.precision.value}, split {result.split.value}, {result.images} images, manifest "
        f"{result.manifest_sha256[:12]}"
    )
    verdict = "" if result.split is Split.TEST else "not on test images"
    for name, value, ci95 in _overall(result):
        yield Measurement(name, "", value, ci95, "1", measured, verdict=verdict)
    for label, row in result.by_class.items():
        for name, value, ci95 in _of_class(row):
            yield Measurement(name, label, value, ci95, "1", measured, verdict=verdict)
    for name, of, value, ci95 in _of_answers(result):
        yield Measurement(name, of, value, ci95, "1", measured, verdict=verdict)


def _overall(result: Evaluation) -> Iterator[_Estimate]:
    yield "accuracy", result.accuracy, result.accuracy_ci95
    yield "macro_f1", result.macro_f1, result.macro_f1_ci95
    yield "auroc", result.auroc, result.auroc_ci95
    yield "calibration_error", result.calibration_error, result.calibration_error_ci95
    yield "agreement_fp32", result.agreement_fp32, result.agreement_fp32_ci95


def _of_class(row: ClassMetrics) -> Iterator[_Estimate]:
    yield "recall", row.recall, row.recall_ci95
    yield "auroc", row.auroc, row.auroc_ci95
    yield "sensitivity", row.sensitivity, row.sensitivity_ci95
    yield "specificity", row.specificity, row.specificity_ci95


def _of_answers(result: Evaluation) -> Iterator[tuple[str, str, float | None, _Bounds]]:
    """Yield refusals, controls, prediction sets, groups and evidence: figure, of, value, interval.

    Groups are those of all images, also refused ones.
    """
    if (found := result.answered) is not None:
        yield "refused", "", found.refused / result.images, found.refused_ci95
        yield "accuracy answered", "", found.accuracy_answered, found.accuracy_answered_ci95
    for kind, control in result.controls.items():
        share = control.refused / control.images
        yield "control refused", kind, share, control.refused_ci95
        for name, number in control.called.items():
            ci95 = control.called_ci95[name]
            yield f"control called {name}", kind, number / control.images, ci95
    if (sets := result.coverage) is not None:
        for label, row in {"": sets, **sets.by_class}.items():
            yield "set coverage", label, row.coverage, row.coverage_ci95
            yield "set of one class", label, row.single_share, row.single_share_ci95
    for name, groups in result.by.items():
        for value, group in groups.items():
            yield f"accuracy by {name}", value, group.accuracy, group.accuracy_ci95
    for one in result.auroc_within_source:
        of = f"{one.class_name} from {one.against}"
        yield f"auroc within {one.source}", of, one.auroc, one.auroc_ci95
    for evidence in result.border_evidence:
        of = ", ".join(filter(None, (evidence.label, evidence.source)))
        yield "evidence in the border", of, evidence.share, evidence.share_ci95


def _of_bench(name: str, result: BenchResult) -> Iterator[Measurement]:
    machine, verdict = machine_of(result), "; ".join(result.verdict.reasons)
    elsewhere = not on_target(result)

    def row(
        figure: str,
        of: str,
        value: float | None,
        unit: str,
        ci95: PartialInterval | None = None,
        more: str = "",
    ) -> Measurement:
        reasons = "; ".join(filter(None, (more, verdict)))
        return Measurement(figure, of, value, ci95, unit, name, machine, reasons, elsewhere)

    for stage, latency in {"": result.latency_ms, **result.stages_ms}.items():
        for figure in SHARES:
            found = latency.percentile(figure)
            if found:
                yield row(f"latency {figure}", stage, found.value, "ms", found.ci95)
            else:
                yield row(f"latency {figure}", stage, None, "ms", more=numbers.TOO_FEW)
    yield row("throughput", "", result.throughput, "images/s")
    yield row("energy per image", "", joules_per_image(result), "J")
    cold = result.cold_start_ms
    yield row("cold start", "process", cold.process, "ms")
    yield row("cold start", "load", cold.load, "ms")
    yield row("cold start", "first_inference", cold.first_inference, "ms")
