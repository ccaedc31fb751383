"""Builds for an Orin Nano, and the files in their bundles."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from cxredge.backends.tensorrt.facts import read_facts
from tests.conftest import Ran, Run

ALL = {"model-fp32.plan", "model-fp16.plan", "model-int8.plan"}


def build_from(cxredge: Run, model: Path, calibration: Path, out: Path, *more: object) -> Ran:
    return cxredge(
        "build", model, "--calibration", calibration, "--out", out, "--target",
        "jetson-orin-nano", "--effort", "quick", "--min-agreement", 0.5,
        "--max-accuracy-drop", 0.5, "--json", *more,
    )  # fmt: skip


def finish(cxredge: Run, bundle: Path, *more: object) -> Ran:
    ran = cxredge("deploy", bundle, "--json", *more)
    assert ran.code == 0, ran.err
    return ran


def plans(bundle: Path) -> dict[str, int]:
    """Return when each engine was written."""
    return {path.name: path.stat().st_mtime_ns for path in bundle.glob("*.plan")}


def settings_of(bundle: Path, precision: str) -> dict[str, object]:
    facts = read_facts(bundle / f"model-{precision}.plan")
    assert facts is not None
    return asdict(facts.settings)
