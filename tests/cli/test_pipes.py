"""Pipes in the place of files: no command waits for their other end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Run

pytestmark = pytest.mark.timeout(20, func_only=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "pipe.json"],
        ["inspect", "pipe.csv"],
        ["inspect", "pipe.onnx"],
        ["inspect", "pipe.tar"],
        ["verify", "pipe.tar"],
        ["deploy", "pipe.tar"],
        ["data", "audit", "pipe.csv"],
        ["calibrate", "pipe.csv", "--out", "c.csv"],
        ["evaluate", "BUNDLE", "pipe.csv"],
        ["predict", "BUNDLE", "pipe.zip", "--out", "p.jsonl"],
        ["predict", "BUNDLE", ".", "--out", "p.jsonl"],
        ["predict", "BUNDLE", "pipe.png", "--out", "pipe.csv"],
        ["bench", "BUNDLE", "--images", "pipe.png"],
        ["report", "BUNDLE", "--out", "pipe.json"],
    ],
    ids=" ".join,
)
def test_no_command_waits_for_a_pipe(
    arguments: list[str],
    built: Path,
    tmp_path: Path,
    cxredge: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for ending in ("json", "csv", "onnx", "tar", "zip", "png"):
        os.mkfifo(f"pipe.{ending}")
    ran = cxredge(*(built if word == "BUNDLE" else word for word in arguments))
    assert ran.code == 1
    assert ran.err.startswith("Error: ")
    assert "Internal error" not in ran.err
