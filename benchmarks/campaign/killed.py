"""A command in a child process, and what it would leave if it were killed at any file change."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
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
_RANDOM = re.compile(r"\.[a-z0-9_]{8}(?=\.(partial|old)\b)")

BeforeChange = Callable[[int], None]
"""Called in the child before each change, with its number from 1."""


@dataclass(frozen=True)
class Child:
    """A command that ended.

    Attributes:
        code: Exit code; negative for a signal.
        changes: Kinds of the file changes below the folder, in order; empty if it was killed.
    """

    code: int
    changes: tuple[str, ...]


def kill_at(number: int) -> BeforeChange:
    """Kill the child (SIGKILL) before a change."""

    def kill(current: int) -> None:
        if current == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return kill


def copy_at_each(root: Path, into: Path) -> BeforeChange:
    """Copy a folder before each change: what a kill at that moment would leave of it.

    Data that the process holds in memory are missing there too, and a lock ends with its process.
    """

    def copy(current: int) -> None:
        shutil.copytree(root, into / str(current), symlinks=True)

    return copy


def fingerprint(folder: Path) -> str:
    """Return a hash of names, modes and contents, without random names and process numbers."""
    lines = []
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() and path.suffix != ".lock" else b""
        name = _RANDOM.sub("", str(path.relative_to(folder)))
        lines.append((name, path.lstat().st_mode, hashlib.sha256(content).hexdigest()))
    return hashlib.sha256(json.dumps(sorted(lines)).encode()).hexdigest()


def run_child(
    words: Sequence[str], root: Path, log: Path, before_change: BeforeChange = lambda _: None
) -> Child:
    """Run a command in a forked process.

    A change creates, opens for writing, renames, exchanges, flushes (``fsync``), restricts or
    removes a file or folder. Temporary files are in the folder too.

    Args:
        words: Arguments of cxredge.
        root: Changes below this folder are counted.
        log: File for what the command prints.
        before_change: Called before each change.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _run(words, log, writing, _Changes(str(root), before_change))
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        counted = stream.read()
    _, status = os.waitpid(child, 0)
    return Child(os.waitstatus_to_exitcode(status), tuple(json.loads(counted or b"[]")))


class _Changes:
    """Counts the changes below a folder."""

    def __init__(self, root: str, before_change: BeforeChange) -> None:
        self.root, self.kinds = root, list[str]()
        self._before_change, self._one_at_a_time = before_change, threading.RLock()

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
        if Path(path).is_relative_to(self.root):
            with self._one_at_a_time:
                self.kinds.append(kind)
                self._before_change(len(self.kinds))


def _run(words: Sequence[str], log: Path, writing: int, changes: _Changes) -> None:
    """Run a command in this process, write its changes to a pipe, and end the process."""
    code = 99
    try:
        with log.open("w") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        tempfile.tempdir = changes.root
        shorten()
        changes.watch()
        code = int(cli.app([*words, "-q"], standalone_mode=False) or 0)
        os.write(writing, json.dumps(changes.kinds).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _path_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()
