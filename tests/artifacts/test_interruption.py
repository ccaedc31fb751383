"""A signal at any point leaves the old or the new output, whole, and nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from cxredge.artifacts.atomic import write_text
from cxredge.artifacts.exclusive import exclusive
from cxredge.artifacts.folder import atomic_folder
from cxredge.artifacts.interruption import interrupt, uninterrupted
from cxredge.cli.process import terminable
from tests.artifacts.conftest import names
from tests.artifacts.signal_points import SignalPoints


@pytest.fixture(autouse=True)
def handled_signals() -> Iterator[None]:
    """Python's handlers; a process that was started in the background or by nohup ignores some."""
    own = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in own.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def write_folder(path: Path) -> None:
    with exclusive(path), atomic_folder(path) as folder:
        (folder / "model.onnx").touch()


def write_file(path: Path) -> None:
    with exclusive(path):
        write_text(path, "new")


@pytest.mark.parametrize(
    ("write", "finished", "repeat"),
    [
        (write_folder, ["out", "out/model", "out/model/model.onnx"], False),
        (write_file, ["out", "out/model"], True),
    ],
)
def test_signal_at_every_point(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path], None],
    finished: list[str],
    repeat: bool,
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    stopped = 0
    for at in count(1):
        root = tmp_path / str(at)
        root.mkdir()
        points = SignalPoints(signal.SIGINT, at, repeat)
        try:
            with terminable(), points.traced():
                write(root / "out" / "model")
        except KeyboardInterrupt:
            stopped += 1
        assert names(root) in ([], finished), at
        if points.count < at:
            break
    assert names(root) == finished
    assert at - 10 < stopped < at
    assert at > 50


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_is_handled_when_the_context_was_entered_or_left(number: signal.Signals) -> None:
    """And the block does not run after a signal that came while it was entered."""
    done: list[str] = []

    @uninterrupted
    def context(moment: str) -> Iterator[None]:
        if moment == "entering":
            signal.raise_signal(number)
        done.append("entered")
        try:
            yield
        finally:
            if moment == "leaving":
                signal.raise_signal(number)
            done.append("left")

    for moment, expected in (
        ("entering", ["entered", "left"]),
        ("leaving", ["entered", "block", "left"]),
    ):
        done.clear()
        with pytest.raises(KeyboardInterrupt), terminable(), context(moment):
            done.append("block")
        assert done == expected


def test_signal_is_not_lost_when_the_context_fails() -> None:
    @uninterrupted
    def fails() -> Iterator[None]:
        interrupt(KeyboardInterrupt("postponed"), None)
        raise ValueError("first")
        yield

    with pytest.raises(KeyboardInterrupt, match="postponed") as stopped, fails():
        pytest.fail("the block must not run")
    assert "first" in str(stopped.value.__context__)
