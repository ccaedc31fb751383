"""Build a bundle of the small model."""

from __future__ import annotations

from pathlib import Path


def build(cxredge, model: Path, calibration: Path, out: Path, *more: object):
    return cxredge(
        "build", model, "--calibration", calibration, "--out", out, "--min-agreement", 0.5,
        "--max-accuracy-drop", 0.5, "--json", *more,
    )  # fmt: skip
