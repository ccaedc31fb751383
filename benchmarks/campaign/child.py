"""A command in a child process with limits on time and memory, and a bundle to try it on."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO

from benchmarks.commands import cxredge

COMMAND = (sys.executable, "-m", "cxredge")
TRACEBACKS = ("Traceback (most recent call last)", "Internal error")


class Outcome(str, Enum):
    """How a command ended.

    ``CRASHED`` is an internal error, a traceback, a signal or an unknown exit code; ``HUNG`` is the
    limit of time.
    """

    DONE = "done"
    REFUSED = "refused"
    CRASHED = "crashed"
    HUNG = "hung"


@dataclass(frozen=True)
class Ended:
    """A command that ended, or was killed.

    Attributes:
        outcome: How it ended.
        code: Exit code; negative for a signal.
        seconds: Wall seconds.
        peak_mb: Peak resident memory in MB (10^6 bytes).
        out: Standard output.
        err: Standard error.
    """

    outcome: Outcome
    code: int
    seconds: float
    peak_mb: float
    out: str
    err: str


def run_limited(
    *arguments: object,
    seconds: float,
    memory_mb: int,
    command: tuple[str, ...] = COMMAND,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Ended:
    """Run a command of cxredge in a child process of its own session.

    Args:
        arguments: Arguments of the command.
        seconds: Wall seconds after which the process group is killed.
        memory_mb: Limit on the address space, in MB (10^6 bytes); an allocation beyond it fails.
        command: What to run instead of cxredge.
        environment: Variables to add.
        cwd: Working folder.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        launched = subprocess.run(
            [
                *(sys.executable, "-I", "-S", str(Path(__file__).with_name("launcher.py"))),
                *(str(seconds), str(memory_mb * 1_000_000), str(out.fileno()), str(err.fileno())),
                *command,
                *map(str, arguments),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=(out.fileno(), err.fileno()),
            env={**os.environ, **(environment or {})},
            cwd=cwd,
            check=True,
        )
        took = time.perf_counter() - start
        texts = [_text(_whole(stream)) for stream in (out, err)]
    found = json.loads(launched.stdout)
    code = os.waitstatus_to_exitcode(found["status"])
    outcome = Outcome.HUNG if found["killed"] else _outcome(code, texts[1])
    return Ended(outcome, code, took, found["peak_kib"] * 1024 / 1e6, texts[0], texts[1])


def small_bundle(folder: Path) -> Path:
    """Return a bundle of a MobileNet V1 at 64x64, trained for one epoch on phantoms.

    The folder also receives what it was made from; all parts of a campaign share one training.
    """
    shutil.copytree(_made(), folder, dirs_exist_ok=True)
    return folder / "bundle"


@functools.cache
def _made() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="campaign-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    cxredge("data", "phantoms", "--patients", 12, "--size", 64, "--out", folder / "phantoms")
    cxredge(
        "train", folder / "phantoms" / "manifest.csv", "--weights", "none", "--freeze", "none",
        "--input-size", 64, "--epochs", 1, "--out", folder / "run",
    )  # fmt: skip
    cxredge("export", folder / "run", "--out", folder / "fp32")
    cxredge(
        "calibrate", folder / "phantoms" / "manifest.csv", "--count", 16,
        "--out", folder / "calibration.csv",
    )  # fmt: skip
    cxredge(
        "build", folder / "fp32", "--calibration", folder / "calibration.csv", "--effort", "quick",
        "--min-agreement", 0, "--max-accuracy-drop", 1, "--out", folder / "bundle",
    )  # fmt: skip
    return folder


def _outcome(code: int, err: str) -> Outcome:
    if code not in (0, 1, 2, 3) or any(text in err for text in TRACEBACKS):
        return Outcome.CRASHED
    return Outcome.REFUSED if code else Outcome.DONE


def _whole(stream: IO[bytes]) -> bytes:
    stream.seek(0)
    return stream.read()


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")
