"""The parts of the emulated check that need no emulator."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import aarch64_rows
from cxredge.data.manifest import read_manifest

SCRIPT = Path(aarch64_rows.__file__).with_name("aarch64_check.sh")
HEADER = "path,status,label,probability,p_a,p_b,error\n"


def test_the_script_says_what_it_wants() -> None:
    assert subprocess.run(["/bin/bash", "-n", str(SCRIPT)], check=False).returncode == 0
    done = subprocess.run([str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "expected WORK MANIFEST BUNDLE..." in done.stderr


def test_images_are_picked_from_each_class_in_turn(phantoms: Path, tmp_path: Path) -> None:
    aarch64_rows.pick(phantoms / "manifest.csv", 6, tmp_path / "images")
    entries = read_manifest(tmp_path / "images/manifest.csv").entries
    classes = sorted(read_manifest(phantoms / "manifest.csv").classes)
    assert [entry.label for entry in entries] == (classes * 6)[:6]
    assert {entry.split.value for entry in entries} == {"test"}
    assert all(entry.path.is_relative_to(tmp_path) for entry in entries)


@pytest.fixture
def rows(tmp_path: Path) -> tuple[Path, Path]:
    first = HEADER + "0.png,ok,a,0.75,0.75,0.25,\n1.png,unreadable,,,,,broken\n"
    second = first.replace("0.75,0.75,0.25", "0.7,0.7,0.3")
    for name, text in (("x86.csv", first), ("arm.csv", second)):
        (tmp_path / name).write_text(text)
    return tmp_path / "x86.csv", tmp_path / "arm.csv"


def test_rows_are_held_against_each_other(rows: tuple[Path, Path]) -> None:
    found = aarch64_rows.rows_apart(*rows)
    assert found["max_probability_difference"] == pytest.approx(0.05)
    assert (found["rows"], found["same"], found["identical_rows"]) == ([2, 2], True, 1)
    assert aarch64_rows.rows_apart(rows[0], rows[0])["identical_rows"] == 2


def test_another_label_or_a_missing_row_is_not_the_same(rows: tuple[Path, Path]) -> None:
    first, second = rows
    second.write_text(second.read_text().replace("ok,a", "ok,b"))
    assert aarch64_rows.rows_apart(first, second)["same"] is False
    second.write_text(HEADER + "0.png,ok,a,0.75,0.75,0.25,\n")
    found = aarch64_rows.rows_apart(first, second)
    assert (found["rows"], found["same"]) == ([2, 1], False)


def test_an_installation_is_added_up_without_pip(tmp_path: Path) -> None:
    for name, size in (("numpy/core.so", 3_000_000), ("one.py", 500_000), ("pip/x.py", 9_000_000)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    found = aarch64_rows.installed(tmp_path)
    assert found["mb"] == 3.5
    assert found["largest_mb"] == {"numpy": 3.0, "one.py": 0.5}


def test_what_was_found_becomes_a_page(rows: tuple[Path, Path], tmp_path: Path) -> None:
    """One bundle that does the same on both, and a command that was refused."""
    replay = {"precision": "int8", "max_probability_difference": 0.0, "passed": True}
    said = {
        "system": {"python": "3.11.2", "libc": "glibc 2.36", "machine": "aarch64"},
        "packages": [{"name": "numpy", "version": "2.4"}],
        "installed": {"mb": 160.0, "goal_mb": 150, "largest_mb": {"numpy": 55.0}},
        "listed": {"mb": 142.0},
        "verify-listed": {"passed": True},
        "doctor": {"ok": True, "target": "cpu-arm"},
    }
    for where in ("x86", "arm"):
        said[f"b.verify.{where}"] = {"replays": [replay]}
        said[f"b.predict.{where}"] = {"seconds": 1.0}
        said[f"b.evaluate.{where}"] = {"accuracy": 0.8125}
    said["b.evaluate.arm"] = {"error": "no room", "hint": ""}
    for name, value in said.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    for path, where in zip(rows, ("x86", "arm"), strict=True):
        path.rename(tmp_path / f"b.{where}.csv")
    command = [sys.executable, str(SCRIPT.with_name("aarch64_rows.py")), "compare", str(tmp_path)]
    command += ["b", "--debian", "bookworm", "--emulator", "QEMU 7", "--out", str(tmp_path / "out")]
    environment = {"PYTHONPATH": str(SCRIPT.parents[1])}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    page = (tmp_path / "out.md").read_text()
    assert "| b | int8 0.0e+00 | 2 / 2 | yes | 1 | 5.0e-02 | 0.8125 / - |" in page
    assert "- b, evaluate on arm: no room" in page
    assert json.loads((tmp_path / "out.json").read_text())["listed"]["verified"] is True
