"""Result sets of results made by hand, and their comparison."""

from __future__ import annotations

from typing import Any

from cxredge.bundle.passport import Passport
from cxredge.comparison import ComparisonRow, Limits, ResultSet, compare
from cxredge.comparison.result_set import Result
from cxredge.telemetry.linux import Machine
from cxredge.vocabulary import Precision
from tests.results.sample_results import SERVER, latency


def passport(
    p50: float, ci95: tuple[float, float] | None = None, machine: Machine = SERVER
) -> Passport:
    return Passport(
        card_file_sha256="0" * 64,
        backend="onnxruntime",
        precision=Precision.INT8,
        engine="model-int8.onnx",
        engine_sha256="1" * 64,
        reason="It is the fastest.",
        machine=machine,
        tools={},
        latency_ms={Precision.INT8: latency(p50, ci95)},
        candidates=(),
    )


def result_set(*results: Result, name: str = "B") -> ResultSet:
    return ResultSet(name, results)


def compared(before: Result, after: Result, **more: Any) -> tuple[ComparisonRow, ...]:
    limits = more.pop("limits", Limits())
    return compare(result_set(before, name="A"), [result_set(after)], limits, **more).rows


def row_of(metric: str, before: Result, after: Result, **more: Any) -> ComparisonRow:
    (row,) = (row for row in compared(before, after, **more) if row.metric == metric)
    return row
