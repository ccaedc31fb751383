"""All figures of a chapter as numbers, one a row, for programs and spreadsheets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cxredge.report.benches import bench_names, joules_per_image, machine_name
from cxredge.report.page import Measurement
from cxredge.report.reported_bundle import ReportedBundle, Result
from cxredge.vocabulary import Split

_OVERALL = ("accuracy", "macro_f1", "auroc", "calibration_error", "agreement_fp32")
_BY_CLASS = ("recall", "auroc", "sensitivity", "specificity")
_PERCENTILES = ("p50", "p90", "p99")


def measurements(reported: ReportedBundle) -> tuple[Measurement, ...]:
    """Return every figure with its interval; what was not measured is there without a value."""
    rows: list[Measurement] = []
    for result in reported.evaluations:
        rows += _of_evaluation(result)
    if not reported.evaluations:
        rows += [Measurement(name, "", None, None, "1", "not measured") for name in _OVERALL]
    for name, result in zip(bench_names(reported.benches), reported.benches, strict=True):
        rows += _of_bench(name, result)
    if not reported.benches:
        names = [*(f"latency {p}" for p in _PERCENTILES), "throughput", "energy an image"]
        units = ["ms", "ms", "ms", "images/s", "J"]
        rows += [
            Measurement(name, "", None, None, unit, "not measured")
            for name, unit in zip(names, units, strict=True)
        ]
    if reported.bundle is not None:
        size = reported.bundle.engine.stat().st_size
        rows.append(Measurement("size", "", size, None, "bytes", reported.bundle.engine.name))
    return tuple(rows)


def _of_evaluation(result: Result) -> Iterator[Measurement]:
    measured = (
        f"{result['precision']}, split {result['split']}, {result['images']} images, manifest "
        f"{result['manifest_sha256'][:12]}"
    )
    doubt = "" if result["split"] == Split.TEST.value else "not on test images"

    def row(figure: str, of: str, values: Mapping[str, Any]) -> Measurement:
        value, ci95 = values[figure], _pair(values.get(f"{figure}_ci95"))
        return Measurement(figure, of, value, ci95, "1", measured, verdict=doubt)

    for figure in _OVERALL:
        if figure in result:
            yield row(figure, "", result)
    for name, values in result["by_class"].items():
        for figure in _BY_CLASS:
            yield row(figure, name, values)


def _of_bench(name: str, result: Result) -> Iterator[Measurement]:
    machine, doubts = machine_name(result), "; ".join(result["verdict"]["reasons"])

    def row(figure: str, of: str, value: float | None, unit: str, ci95: Any = None) -> Measurement:
        return Measurement(figure, of, value, _pair(ci95), unit, name, machine, doubts)

    timings = {"": result["latency_ms"], **result["stages_ms"]}
    for stage, values in timings.items():
        for p in _PERCENTILES:
            yield row(f"latency {p}", stage, values[p], "ms", values[f"{p}_ci95"])
    yield row("throughput", "", result["throughput"], "images/s")
    yield row("energy an image", "", joules_per_image(result), "J")
    for stage, value in result["cold_start_ms"].items():
        yield row("cold start", stage, value, "ms")


def _pair(ci95: Any) -> tuple[float | None, float | None] | None:
    return None if ci95 is None else (ci95[0], ci95[1])
