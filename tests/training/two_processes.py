"""A function in two connected processes.

They are forks of a small server process that has no threads. A fork of the test process would
inherit the locks that threads of OpenVINO, ONNX Runtime or gRPC hold at that moment, and might wait
for one forever.
"""

from __future__ import annotations

import multiprocessing
import pickle
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cloudpickle
import coverage
import pytest

Patch = tuple[Any, str, Any]
"""An object, the name of its attribute, and the value that it has in both processes."""

SECONDS = 240
"""Maximum time of both."""
_PRELOADED = ("torch", "cxredge.training.run", "cxredge.cli")
_SETTINGS = Path(__file__).parents[2] / "pyproject.toml"


def in_two(function: Callable[[], Any], folder: Path, patches: Sequence[Patch] = ()) -> list[Any]:
    """Return what the function returns, or the CxredgeError that it raises, in each process.

    Args:
        function: Pickled with what it refers to: changes of its variables stay in the processes.
        folder: Folder for the results.
        patches: Applied in both processes.
    """
    port, is_measured = _free_port(), coverage.Coverage.current() is not None
    job = cloudpickle.dumps((function, list(patches)))
    found = [folder / f"rank-{rank}.pickle" for rank in range(2)]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    processes = [
        context.Process(target=_run, args=(job, rank, port, path, is_measured))
        for rank, path in enumerate(found)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
    ended = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    outcomes = [pickle.loads(path.read_bytes()) if path.exists() else None for path in found]
    for path in found:
        path.unlink(missing_ok=True)
    assert ended == [0, 0]
    return [_counted(outcome) for outcome in outcomes]


def _run(job: bytes, rank: int, port: int, found: Path, is_measured: bool) -> None:
    """Run the function in one of the processes, and write what it returns and the lines it ran."""
    measured = coverage.Coverage(None, config_file=str(_SETTINGS)) if is_measured else None
    if measured:
        measured.start()
    with _environment(rank, port), pytest.MonkeyPatch.context() as patch:
        function, patches = cloudpickle.loads(job)
        for owner, name, value in patches:
            patch.setattr(owner, name, value)
        outcome = _outcome(function)
    lines = None
    if measured:
        measured.stop()
        lines = measured.get_data().dumps()
    found.write_bytes(cloudpickle.dumps((outcome, lines)))


@contextmanager
def _environment(rank: int, port: int) -> Iterator[None]:
    """Set the variables of torchrun."""
    values = {
        "RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": 2,
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, str(value))
        yield


def _counted(outcome: tuple[Any, bytes | None] | None) -> Any:
    """Count the lines that a process has covered, and return the rest."""
    if outcome is None:
        return None
    current = coverage.Coverage.current()
    if current is not None and outcome[1] is not None:
        lines = coverage.CoverageData(no_disk=True)
        lines.loads(outcome[1])
        current.get_data().update(lines)
    return outcome[0]


def _outcome(function: Callable[[], Any]) -> Any:
    from cxredge.errors import CxredgeError

    try:
        return function()
    except CxredgeError as error:
        return type(error).__name__, error.message


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
