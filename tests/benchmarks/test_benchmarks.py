"""The suite of ``make bench`` runs, each benchmark once, on a small model and small images."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from cxredge.artifacts.records import to_json
from cxredge.telemetry.linux import read_machine

ROOT = Path(__file__).parents[2]


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
    assert found["machine_info"] == json.loads(json.dumps(to_json(read_machine())))
    assert [one["name"] for one in found["benchmarks"]] == ["test_phantom[jpeg-224]"]


@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda p: p.name)
def test_what_scripts_import_is_there(script: Path) -> None:
    """They take hours on real data and are not run here, so a renamed module would go unseen."""
    nodes = [n for n in ast.walk(ast.parse(script.read_text())) if isinstance(n, ast.ImportFrom)]
    for node in nodes:
        if node.module and node.module.split(".")[0] == "cxredge":
            module = importlib.import_module(node.module)
            missing = [
                alias.name
                for alias in node.names
                if not hasattr(module, alias.name)
                and find_spec(f"{node.module}.{alias.name}") is None
            ]
            assert missing == [], f"line {node.lineno}"
