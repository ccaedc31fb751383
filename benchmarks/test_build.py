"""Bundles: built from a model, and deployed on their target."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from benchmarks.commands import cxredge


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_build(benchmark, precision: str, model: Path, calibration: Path, tmp_path: Path) -> None:
    number = count()
    more = [] if precision == "fp32" else ["--calibration", calibration, "--effort", "quick"]

    def run() -> Path:
        out = tmp_path / str(next(number))
        cxredge(
            "build", model, "--precision", precision, "--out", out, "--min-agreement", 0,
            "--max-accuracy-drop", 1, *more,
        )  # fmt: skip
        return out

    assert (benchmark.pedantic(run, rounds=3) / "passport.json").is_file()


def test_finish(benchmark, bundle: Path) -> None:
    """``cxredge deploy BUNDLE``: goldens replayed, candidates timed, the passport written."""
    found = benchmark.pedantic(cxredge, ("build", bundle), rounds=3)
    assert found["bundle"] == str(bundle)
