"""A function in two connected processes."""

from __future__ import annotations

import os
import pickle
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import coverage

FAILED = 41
"""Exit code of a process whose function raised something that is not CxredgeError."""


@contextmanager
def environment(rank: int, port: int) -> Iterator[None]:
    """Set the variables of torchrun."""
    values = {
        "RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": 2,
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: str(value) for name, value in values.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def in_two(function: Callable[[], Any], folder: Path) -> list[Any]:
    """Return what the function returns, or the error that it raises, in each process.

    Both are forks, as connections do not survive a fork: this process never has any.
    """
    port = _free_port()
    found = [folder / f"rank-{rank}.pickle" for rank in range(2)]
    children = [_fork(function, rank, port, path) for rank, path in enumerate(found)]
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    outcomes = [pickle.loads(path.read_bytes()) if path.exists() else None for path in found]
    for path in found:
        path.unlink(missing_ok=True)
    assert ended == [0, 0]
    return [_counted(outcome) for outcome in outcomes]


def _fork(function: Callable[[], Any], rank: int, port: int, found: Path) -> int:
    child = os.fork()
    if child:
        return child
    try:
        with environment(rank, port):
            outcome = _outcome(function)
        found.write_bytes(pickle.dumps((outcome, _covered())))
        os._exit(0)
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
        os._exit(FAILED)


def _covered() -> bytes | None:
    """Return the lines that this process has covered, if they are counted."""
    current = coverage.Coverage.current()
    return None if current is None else current.get_data().dumps()


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
