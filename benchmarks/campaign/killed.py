"""A command in a child process that is killed before one of its file changes."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxredge import cli
from cxredge.artifacts import exchange
from tests.quick_search import shorten

_CHANGES = {
    "os.rename": 2, "os.remove": 1, "os.mkdir": 2, "os.rmdir": 1, "os.chmod": 2, "os.link": 2,
    "os.symlink": 2, "os.truncate": None,
}  # fmt: skip
"""Audit events, with the argument that has the folder's descriptor of a relative path."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Child:
    """A command that ended.

    Attributes:
        code: Exit code; negative for a signal.
        changes: Kinds of the file changes below the folder, in order; empty if it was killed.
    """

    code: int
    changes: tuple[str, ...]


def run_killed(words: Sequence[str], root: Path, stop_at: int, log: Path) -> Child:
    """Run a command in a forked process and kill it before one of its file changes.

    A change creates, opens for writing, renames, exchanges, flushes (``fsync``), restricts or
    removes a file or folder. Temporary files are in the folder too.

    Args:
        words: Arguments of cxredge.
        root: Changes below this folder are counted.
        stop_at: Number of the change, from 1; 0 for none.
        log: File for what the command prints.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _run(words, root, stop_at, log, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        counted = stream.read()
    _, status = os.waitpid(child, 0)
    return Child(os.waitstatus_to_exitcode(status), tuple(json.loads(counted or b"[]")))


def _run(words: Sequence[str], root: Path, stop_at: int, log: Path, writing: int) -> None:
    """Run a command in this process, write its changes to a pipe, and end the process."""
    code = 99
    try:
        with log.open("w") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        tempfile.tempdir = str(root)
        shorten()
        changes = _Changes(str(root), stop_at)
        changes.watch()
        code = int(cli.app([*words, "-q"], standalone_mode=False) or 0)
        os.write(writing, json.dumps(changes.kinds).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class _Changes:
    """Notes the changes below a folder, and kills this process before one of them."""

    def __init__(self, root: str, stop_at: int) -> None:
        self.kinds: list[str] = []
        self._root, self._stop_at = root, stop_at

    def watch(self) -> None:
        """Note changes from now on, to the end of the process."""
        sys.addaudithook(self._hear)
        # Python has no audit events of these.
        sync, swap = os.fsync, exchange._exchange

        def noted_sync(descriptor: int) -> None:
            self._note("fsync", _path_of(descriptor))
            sync(descriptor)

        def noted_swap(first: Path, second: Path) -> bool:
            self._note("exchange", second)
            return swap(first, second)

        os.fsync = noted_sync
        exchange._exchange = noted_swap

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        opens = event == "open" and arguments[2] & _WRITES
        if (opens or event in _CHANGES) and isinstance(arguments[0], (str, bytes, os.PathLike)):
            place = _CHANGES.get(event)
            folder = -1 if place is None else arguments[place]
            base = Path() if folder < 0 else _path_of(folder)
            self._note(event.removeprefix("os."), Path(base, os.fsdecode(arguments[0])))

    def _note(self, kind: str, path: str | Path) -> None:
        if Path(path).is_relative_to(self._root):
            self.kinds.append(kind)
            if len(self.kinds) == self._stop_at:
                os.kill(os.getpid(), signal.SIGKILL)


def _path_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()
