"""A full disk: reported before anything is written, with the space that is required."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli.test_bad_inputs import one_line


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))


@pytest.mark.usefixtures("full_disk")
def test_models_and_bundles(model: Path, calibration: Path, tmp_path: Path, cxredge) -> None:
    commands = {
        "the model int8": [
            "quantize", model, "--calibration", calibration, "--dialect", "cpu",
            "--effort", "quick", "--evaluate", model / "manifest.csv", "--out", tmp_path / "int8",
        ],
        "the bundle fp32": ["build", model, "--precision", "fp32", "--out", tmp_path / "fp32"],
    }  # fmt: skip
    for what, command in commands.items():
        ran = cxredge(*command, "-q")
        one_line(ran, f"There is no room for {what}: it needs up to", "0.1 kB are free")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("command", ["evaluate", "bench", "report"])
def test_results(command: str, bundle: Path, phantoms: Path, tmp_path: Path, cxredge) -> None:
    out = tmp_path / ("r.html" if command == "report" else "r.json")
    more = {
        "evaluate": [phantoms / "manifest.csv"],
        "bench": ["--seconds", 0, "--queries", 5],
        "report": [],
    }[command]
    one_line(cxredge(command, bundle, *more, "--out", out, "-q"), f"no room for {out.name}")
    assert list(tmp_path.glob("*r.*")) == []


@pytest.mark.usefixtures("full_disk")
def test_lists(phantoms: Path, tmp_path: Path, cxredge) -> None:
    out = tmp_path / "c.csv"
    ran = cxredge("calibrate", phantoms / "manifest.csv", "--count", 8, "--out", out)
    one_line(ran, "no room for c.csv", "kB")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("arguments", [["targets"], ["targets", "--json"]])
def test_failure_to_print(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cxredge", *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Failed to print the result: No space left on device.")
    assert "Traceback" not in done.stderr


def test_disk_that_fills_up_while_writing_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    from cxredge.artifacts.atomic import write_json
    from cxredge.errors import CxredgeError

    def fail(_path: Path, _content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(CxredgeError, match=r"no room for r\.json"):
        write_json(tmp_path / "r.json", {"a": 1})
    assert list(tmp_path.iterdir()) == []
