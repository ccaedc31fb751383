"""The suite of ``make bench`` runs, each benchmark once, on a small model and small images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cxredge.telemetry.linux import read_machine

ROOT = Path(__file__).parent.parent


def run(*arguments: object) -> str:
    command = [sys.executable, "-m", "pytest", "benchmarks", "-q", "-p", "no:cacheprovider"]
    command += ["-p", "tests.quick_search"]
    # In what looks like a worker of pytest-xdist, benchmarks are not timed.
    alone = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    done = subprocess.run(
        [*command, *map(str, arguments)],
        cwd=ROOT, env=alone, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
def test_every_benchmark_runs(model: Path, phantoms: Path) -> None:
    said = run("--benchmark-disable", "--model", model, "--images", phantoms / "images")
    assert "failed" not in said
    assert int(said.split(" passed")[0].split()[-1]) >= 20


def test_results_are_kept_with_the_machine(model: Path, tmp_path: Path) -> None:
    run(
        "--benchmark-only", "--benchmark-save", "mine", "--benchmark-storage", tmp_path.as_uri(),
        "--benchmark-max-time", 0.01, "--model", model, "-k", "jpeg-224",
    )  # fmt: skip
    (saved,) = tmp_path.rglob("*_mine.json")
    found = json.loads(saved.read_text())
    assert found["machine_info"] == read_machine().to_json()
    assert [one["name"] for one in found["benchmarks"]] == ["test_phantom[jpeg-224]"]
