"""Two or more results side by side: what differs, and whether by more than the noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxredge.artifacts import CARD_NAME, read_json
from cxredge.errors import ArtifactError


@dataclass(frozen=True)
class Metric:
    """How a figure is read from a result and when it got worse.

    Attributes:
        name: What it is called.
        schema: The kind of result that has it.
        key: Where it stands.
        interval: Where its 95% interval stands.
        higher_is_better: Direction.
    """

    name: str
    schema: str
    key: tuple[str, ...]
    interval: tuple[str, ...]
    higher_is_better: bool


METRICS = (
    Metric("accuracy", "evaluation", ("accuracy",), ("accuracy_ci95",), True),
    Metric("macro_f1", "evaluation", ("macro_f1",), ("macro_f1_ci95",), True),
    Metric("auroc", "evaluation", ("auroc",), ("auroc_ci95",), True),
    Metric(
        "calibration_error",
        "evaluation",
        ("calibration_error",),
        ("calibration_error_ci95",),
        False,
    ),
    Metric("p50_ms", "bench", ("latency_ms", "p50"), ("latency_ms", "p50_ci95"), False),
    Metric("p90_ms", "bench", ("latency_ms", "p90"), ("latency_ms", "p90_ci95"), False),
    Metric("p99_ms", "bench", ("latency_ms", "p99"), ("latency_ms", "p99_ci95"), False),
)


@dataclass(frozen=True)
class Side:
    """One result to compare: a result file, or a bundle with the results that it holds."""

    name: str
    results: Sequence[Mapping[str, Any]]


def read_side(path: Path) -> Side:
    """Read a result file or all results of a bundle.

    Raises:
        ArtifactError: It is neither, or has no results yet.
    """
    files = [path]
    if path.is_dir():
        if not (path / CARD_NAME).is_file():
            raise ArtifactError(f"{path} is no bundle: it has no {CARD_NAME}.", "Give a bundle.")
        files = sorted((path / "results").glob("*.json"))
        if not files:
            raise ArtifactError(
                f"{path} has no results yet.",
                f"Run cxredge evaluate {path} MANIFEST or cxredge bench {path}",
            )
    results = [read_json(file) for file in files]
    for file, result in zip(files, results, strict=True):
        if not isinstance(result, dict) or _schema(result) not in ("evaluation", "bench"):
            raise ArtifactError(f"{file} is no result of cxredge evaluate or bench.")
    return Side(str(path), results)


def compare(first: Side, others: Sequence[Side], limit: float) -> list[dict[str, Any]]:
    """Compare each side with the first one, figure by figure.

    Only like is compared: evaluations of the same images, benchmarks of the same scenario and
    source of images.

    Args:
        first: What the others are held against.
        others: At least one.
        limit: Relative change for the worse that counts as a regression, if it also exceeds the
            noise.

    Returns:
        One row for each figure and side: ``metric``, ``of``, ``before``, ``after``, ``change``,
        ``exceeds_noise``, ``regression``, ``doubts``.
    """
    rows = []
    for before in first.results:
        for side in others:
            for after in side.results:
                if _comparable(before) == _comparable(after):
                    rows += _rows(side.name, before, after, limit)
    return rows


def _rows(
    name: str, before: Mapping[str, Any], after: Mapping[str, Any], limit: float
) -> list[dict[str, Any]]:
    rows = []
    doubts = [
        f"{side}: {reason}"
        for side, result in (("first", before), ("other", after))
        for reason in result.get("verdict", {}).get("reasons", [])
    ]
    for metric in METRICS:
        if metric.schema != _schema(before):
            continue
        a, b = _get(before, metric.key), _get(after, metric.key)
        if a is None or b is None:
            continue
        apart = _apart(_get(before, metric.interval), _get(after, metric.interval))
        # From nothing, any change is as large as can be: a whole.
        change = (b - a) / abs(a) if a else float(b > 0) - float(b < 0)
        worse = -change if metric.higher_is_better else change
        rows.append(
            {
                "metric": metric.name,
                "of": name,
                "what": " ".join(map(str, _comparable(before)[1:])),
                "precisions": [before["precision"], after["precision"]],
                "before": a,
                "after": b,
                "change": change,
                "exceeds_noise": apart,
                "regression": apart and worse > limit,
                "doubts": doubts,
            }
        )
    return rows


def _schema(result: Mapping[str, Any]) -> str:
    return str(result.get("schema", "")).removeprefix("cxredge.").partition("/")[0]


def _comparable(result: Mapping[str, Any]) -> tuple[Any, ...]:
    if _schema(result) == "evaluation":
        return ("evaluation", result["split"], result["manifest_sha256"][:12])
    return ("bench", result["scenario"], "+".join(result["timed"]))


def _get(result: Mapping[str, Any], keys: Sequence[str]) -> Any:
    value: Any = result
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _apart(first: Sequence[float] | None, second: Sequence[float] | None) -> bool:
    """Tell whether two 95% intervals do not overlap."""
    if not first or not second or None in (*first, *second):
        return False
    return first[1] < second[0] or second[1] < first[0]
