"""A MobileNet V1 at full size, trained for one epoch on phantoms."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def cxredge(*arguments: object) -> Any:
    """Run a command and return its JSON value."""
    command = [sys.executable, "-m", "cxredge", *map(str, arguments), "--json", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantoms")
    cxredge("data", "phantoms", "--patients", 12, "--size", 1024, "--out", out)
    return out


@pytest.fixture(scope="session")
def bundle(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="needs the train extra")
    work = tmp_path_factory.mktemp("work")
    cxredge(
        "train", phantoms / "manifest.csv", "--weights", "none", "--freeze", "none",
        "--epochs", 1, "--out", work / "run",
    )  # fmt: skip
    cxredge(
        "build", work / "run", "--out", work / "bundle", "--min-agreement", 0,
        "--max-accuracy-drop", 1,
    )  # fmt: skip
    return work / "bundle"
