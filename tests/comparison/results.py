"""Results and passports made by hand, and sides that hold them."""

from typing import Any

from cxredge.comparison import ComparisonRow, Limits, ResultSet, compare

BOARD = {"machine": {"cpu": "Cortex-A78AE", "cores": 6}}
SERVER = {"machine": {"cpu": "AMD EPYC", "cores": 2}}


def evaluation(accuracy: float, ci95: tuple[float, float], **more: Any) -> dict[str, Any]:
    return {
        "schema": "cxredge.evaluation/1",
        "split": "test",
        "manifest_sha256": "ab" * 32,
        "precision": "fp32",
        "accuracy": accuracy,
        "accuracy_ci95": list(ci95),
        **more,
    }


def bench(p50: float, ci95: tuple[float, float], **more: Any) -> dict[str, Any]:
    return {
        "schema": "cxredge.bench/1",
        "scenario": "single-stream",
        "timed": ["decode", "infer"],
        "precision": "int8",
        "latency_ms": {"p50": p50, "p50_ci95": list(ci95)},
        "verdict": {"comparable": True, "reasons": []},
        **more,
    }


def passport(p50: float, ci95: tuple[float, float], **machine: Any) -> dict[str, Any]:
    return {
        "schema": "cxredge.passport/1",
        "precision": "int8",
        "machine": {"cpu": "AMD EPYC", "cores": 2, **machine},
        "latency_ms": {"int8": {"p50": p50, "p50_ci95": list(ci95)}},
    }


def side(*results: dict[str, Any], name: str = "B") -> ResultSet:
    return ResultSet(name, results)


def compared(
    before: dict[str, Any], after: dict[str, Any], **more: Any
) -> tuple[ComparisonRow, ...]:
    limits = more.pop("limits", Limits())
    return compare(side(before, name="A"), [side(after)], limits, **more).rows
