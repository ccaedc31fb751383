"""Rows of a small prediction job, and functions that write and read them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from cxredge.inference.answers import PredictionRow
from cxredge.inference.predictions_file import RowWriter

CLASSES = ("normal", "viral")
JOB = {"bundle": "ab" * 32, "inputs": "cd" * 32}


def by_class(normal: float, viral: float) -> dict[str, float]:
    return {"normal": normal, "viral": viral}


ROWS = [
    PredictionRow(
        "a/1.png", "ok", "normal", 0.75, by_class(0.75, 0.25), "int8", 0.5, ("normal", "viral"),
        prediction_set=("normal", "viral"), familiarity=1.5,
    ),
    PredictionRow("a/2.png", "unreadable", error='a/2.png is no "image", sorry.'),
    PredictionRow("a/3.png", "ok", "viral", 0.1 + 0.2, by_class(1 - (0.1 + 0.2), 0.1 + 0.2)),
    PredictionRow("ö.png", "ok", "viral", 1.0, by_class(0.0, 1.0)),
    PredictionRow(
        "a/4.png", "unfamiliar", probabilities=by_class(0.5, 0.5), error="Unlike.", familiarity=0.25
    ),
]  # fmt: skip


def write(path: Path, rows: list[PredictionRow]) -> Path:
    writer = RowWriter(path, CLASSES, JOB, resume=False)
    writer.append(rows)
    writer.finish()
    return path


def read_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        rows: list[dict[str, Any]] = list(csv.DictReader(stream))
    for row in rows:
        for key in ("probability", "p_normal", "p_viral", "familiarity", "margin"):
            row[key] = float(row[key]) if row[key] else None
        for key, separator in (("set", "|"), ("above_threshold", ";")):
            names = row[key].split(separator) if row[key] else []
            row[key] = names if row["label"] else None
    return rows


def as_dictionaries(rows: list[PredictionRow]) -> list[dict[str, Any]]:
    return [
        {
            "path": row.path,
            "status": row.status,
            "label": row.label,
            "probability": row.probability,
            "p_normal": row.probabilities.get("normal"),
            "p_viral": row.probabilities.get("viral"),
            "set": list(row.prediction_set) if row.label else None,
            "familiarity": row.familiarity,
            "decided_by": row.decided_by,
            "margin": row.margin,
            "above_threshold": list(row.above_threshold) if row.label else None,
            "error": row.error,
        }
        for row in rows
    ]


def partial_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")
