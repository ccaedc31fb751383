"""A command in several processes: started, killed, restarted, and speaking with one voice."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from cxredge.artifacts.card import check_files, read_card  # noqa: E402
from cxredge.artifacts.run_card import RunCard  # noqa: E402
from cxredge.training import launch, ranks, run  # noqa: E402
from cxredge.training.launch import ProcessFailed  # noqa: E402
from tests.conftest import Ran, Run  # noqa: E402
from tests.training.two_processes import in_two  # noqa: E402

pytestmark = pytest.mark.train

QUICK = (
    "--model", "mobilenet_v1", "--weights", "none", "--freeze", "head", "--input-size", 32,
    "--batch-size", 16, "--accelerator", "cpu",
)  # fmt: skip
PYTHON = [sys.executable, "-m"]
TORCHRUN = [*PYTHON, "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m"]


@pytest.fixture
def arguments(phantoms: Path, tmp_path: Path) -> list[Any]:
    return ["train", phantoms / "manifest.csv", *QUICK, "--out", tmp_path / "run"]


def test_one_process_prints(cxredge: Run, arguments: list[Any], tmp_path: Path) -> None:
    def run() -> Ran:
        return cxredge(*arguments, "--epochs", 1, "--json")

    first, second = in_two(run, tmp_path)
    assert (first.code, second.code) == (0, 0)
    assert first.json["epochs"] == 1
    assert "epoch   1" in first.err
    assert (second.out, second.err) == ("", "")


def test_one_process_prints_an_error_of_all(
    cxredge: Run, arguments: list[Any], tmp_path: Path
) -> None:
    first, second = in_two(lambda: cxredge(*arguments, "--model", "resnet", "--json"), tmp_path)
    assert (first.code, second.code) == (1, 1)
    assert "Unknown model 'resnet'" in first.json["error"]
    assert (second.out, second.err) == ("", "")


def test_a_process_says_which_one_it_is_if_it_fails_alone(
    cxredge: Run, arguments: list[Any], tmp_path: Path
) -> None:
    real = ranks.Ranks.together

    def fail(self: ranks.Ranks, function: Any) -> Any:
        if self.rank == 1:
            raise launch.CxredgeError("The device is gone.")
        return real(self, function)

    first, second = in_two(
        lambda: cxredge(*arguments, "--timeout-minutes", 0.4, "--json"),
        tmp_path,
        [(ranks.Ranks, "together", fail)],
    )
    assert (first.code, second.code) == (1, 1)
    assert "Another process of the training ended" in first.json["error"]
    assert second.err == "Error: Process 1 of 2: The device is gone.\n"
    assert second.out == ""


def test_only_the_first_process_says_that_it_was_interrupted(
    cxredge: Run, arguments: list[Any], tmp_path: Path
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    patches = [(run, "_train", interrupt)]
    first, second = in_two(lambda: cxredge(*arguments), tmp_path, patches)
    assert (first.code, first.err) == (130, "Error: Interrupted.\n")
    assert (second.code, second.err) == (130, "")


@pytest.mark.parametrize(
    ("error", "code", "out", "err"),
    [
        (ProcessFailed("", "", 3, first=True), 3, "", ""),
        (ProcessFailed("Killed.", "Again.", 137, first=False), 137, "", "Error: Killed."),
        (ProcessFailed("Killed.", "Again.", 137, first=True), 137, '"error": "Killed."', "Error"),
        (KeyboardInterrupt(signal.SIGTERM), 143, "", "Error: Terminated by SIGTERM."),
        (KeyboardInterrupt(signal.SIGINT), 130, "", "Error: Interrupted."),
        (None, 0, "", ""),
    ],
)
def test_processes_of_this_machine_end_the_command(
    cxredge: Run,
    arguments: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException | None,
    code: int,
    out: str,
    err: str,
) -> None:
    def start(count: int, words: list[str]) -> None:
        assert count == 2
        if error:
            raise error

    monkeypatch.setattr(launch, "start_processes", start)
    ran = cxredge(*arguments, "--devices", 2, "--json")
    assert ran.code == code
    assert out in ran.out
    assert bool(ran.out) is bool(out)
    assert err in ran.err


def test_wrong_options_start_no_process(
    cxredge: Run, arguments: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "start_processes", lambda *_: pytest.fail("started"))
    ran = cxredge(*arguments, "--devices", 2, "--model", "resnet")
    assert (ran.code, "Unknown model 'resnet'" in ran.err) == (1, True)
    ran = cxredge(*arguments, "--nodes", 2)
    assert (ran.code, "Start torchrun on each node" in ran.err) == (1, True)


def started(command: list[Any], out: Path, before: int = 0) -> subprocess.Popen[str]:
    """Start a command and wait for a checkpoint that is newer than ``before``."""
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 200  # three processes import torch, on a machine that may be busy
    while written(out) in (0, before) and process.poll() is None:
        if time.monotonic() > end:
            process.terminate()
            pytest.fail(f"no checkpoint appeared: {process.communicate(timeout=60)}")
        time.sleep(0.02)
    return process


def written(out: Path) -> int:
    """Return when the checkpoint was written, in nanoseconds; 0 if there is none."""
    path = out / "checkpoint.pt"
    return path.stat().st_mtime_ns if path.exists() else 0


def workers(process: subprocess.Popen[str]) -> Iterator[int]:
    """Yield the processes of a training in the order of their ranks."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    yield from sorted(map(int, children), key=_rank)


def _rank(pid: int) -> int:
    words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(int(word[5:]) for word in words if word.startswith(b"RANK="))


def epochs(out: Path) -> int:
    with (out / "history.csv").open(newline="") as stream:
        return len(list(csv.DictReader(stream)))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
@pytest.mark.skipif(os.cpu_count() == 1, reason="needs two cores")
def test_a_killed_process_ends_the_command_and_torchrun_resumes_it(
    arguments: list[Any], tmp_path: Path
) -> None:
    """First without torchrun, then with it: it restarts after a second kill."""
    out = tmp_path / "run"
    command = ["cxredge", *arguments, "--epochs", 15, "--patience", 15, "--json"]
    process = started([*PYTHON, *command, "--devices", 2], out)
    os.kill(list(workers(process))[1], signal.SIGKILL)
    printed, said = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGKILL
    assert "Error: The process of device 1 of 2 was ended by SIGKILL." in said
    assert "error" in json.loads(printed)

    process = started([*TORCHRUN[:-1], "--max-restarts", 1, "-m", *command], out, written(out))
    os.kill(next(workers(process)), signal.SIGKILL)
    printed, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert said.count("Resuming after epoch") == 2
    assert json.loads(printed[printed.rindex('{\n  "run"') :])["epochs"] == epochs(out) == 15
    check_files(out, read_card(out, RunCard))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
