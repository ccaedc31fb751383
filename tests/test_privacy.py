"""No command uses the network, or writes a file that it was not asked for.

All commands but ``demo``, which runs them, run in one child process, with an empty home. Python's
audit events show what Python code does, strace shows native code too.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from cxredge.cli import COMMANDS
from tests.every_command import STEPS

ROOT = Path(__file__).parents[1]
NETWORK = re.compile(r"\b(?:socket|connect|sendto|sendmsg|bind)\(.*(?:AF_INET6?|PF_INET6?|sin_)")
WRITING = re.compile(r"\bopenat\(.*O_(?:WRONLY|RDWR|CREAT)|\b(?:mkdir|rename|unlink|link|symlink)")
PATH = re.compile(r'"(/[^"]*)"')
FAILED = re.compile(r"= -1 E\w+")
TRACED = "trace=network,openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,symlink"


@dataclass(frozen=True)
class Traced:
    """What the child process did: its folder, its audit events and its system calls."""

    folder: Path
    seen: list[str]
    calls: list[str] | None


@pytest.fixture(scope="module")
def traced(
    tmp_path_factory: pytest.TempPathFactory, phantoms: Path, model: Path, calibration: Path
) -> Traced:
    folder = tmp_path_factory.mktemp("traced")
    home, here, out = (folder / name for name in ("home", "here", "out"))
    for one in (home, here, out):
        one.mkdir()
    log = folder / "calls.txt"
    strace = shutil.which("strace")
    command = [sys.executable, "-m", "tests.every_command", out, phantoms, model, calibration]
    if strace:
        command = [
            strace,
            "-f",
            "--seccomp-bpf",
            "-qq",
            "-s",
            "200",
            "-e",
            TRACED,
            "-o",
            log,
            *command,
        ]
    places = {name: str(out) for name in ("TMPDIR", "TEMP", "TMP")}
    settings = {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)}
    # For the key of the patients' hashes, which train announces.
    settings["XDG_CONFIG_HOME"] = str(out / "config")
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("XDG_", "ORT_", "HF_"))}
    done = subprocess.run(
        list(map(str, command)),
        cwd=here, env={**kept, **places, **settings}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    seen = (out / "seen.txt").read_text().splitlines()
    return Traced(folder, seen, log.read_text().splitlines() if strace else None)


@pytest.mark.slow
def test_python_code_uses_no_network_and_writes_where_it_was_told(traced: Traced) -> None:
    assert traced.seen == []


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["home", "here"])
def test_home_and_working_directory_stay_empty(traced: Traced, folder: str) -> None:
    """The native library of ONNX Runtime writes a device id and a queue of events into the home."""
    assert [str(path) for path in (traced.folder / folder).rglob("*")] == []


@pytest.mark.slow
def test_native_code_uses_no_network_and_writes_where_it_was_told(traced: Traced) -> None:
    if traced.calls is None:
        pytest.skip("needs strace")
    done = [call for call in traced.calls if not FAILED.search(call)]
    assert len(done) > 1000
    assert [call for call in done if NETWORK.search(call)] == []
    wrote = {path for call in done if WRITING.search(call) for path in PATH.findall(call)}
    inside = (str(traced.folder), "/dev/", "/proc/self/")
    assert {path for path in wrote if not path.startswith(inside)} == set()


def test_every_command_is_traced() -> None:
    """``demo`` runs other commands, all of which are."""
    assert {name.split()[0] for name in STEPS} == set(COMMANDS) - {"demo"}


@pytest.mark.parametrize(
    "script",
    sorted(path for folder in ("benchmarks", "tools") for path in (ROOT / folder).rglob("*.py")),
    ids=lambda path: path.name,
)
def test_scripts_switch_telemetry_off_before_they_import_onnx_runtime(script: Path) -> None:
    safe = False
    for node in ast.parse(script.read_text()).body:
        text = ast.unparse(node)
        imports = isinstance(node, (ast.Import, ast.ImportFrom))
        if imports and re.search(r"import (onnxruntime|nncf)|from onnxruntime", text):
            assert safe, f"{script.name}: {text}"
        safe = safe or "ORT_DISABLE_TELEMETRY" in text or (imports and "cxredge" in text)


def test_import_switches_telemetry_off() -> None:
    import cxredge

    assert cxredge.__version__
    wanted = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    assert [os.environ.get(name) for name in wanted] == ["1", "1", "1"]
    assert os.environ.get("RAY_USAGE_STATS_ENABLED") == "0"
    assert os.environ.get("MLFLOW_DISABLE_TELEMETRY") == "true"
