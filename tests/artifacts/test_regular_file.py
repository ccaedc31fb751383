"""Pipes, devices and sockets are refused before they are opened."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxredge.artifacts import regular_file
from cxredge.artifacts.regular_file import NotRegularError, open_regular


def test_a_regular_file_is_read_through_links_too(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "b").symlink_to("a")
    for name in ("a", "b"):
        with open_regular(tmp_path / name) as stream:
            assert stream.read() == b"content"


def test_pipes_devices_and_sockets_are_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("link").symlink_to("pipe")
    Path("zero").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        for name, kind in [
            ("pipe", "pipe"),
            ("link", "pipe"),
            ("zero", "device"),
            ("socket", "socket"),
        ]:
            with pytest.raises(NotRegularError, match=f"{name} is .* but a {kind}"):
                open_regular(Path(name))


def test_a_pipe_that_takes_the_place_of_a_file_is_noticed(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"content")
    opened = os.open

    def swap(*arguments: object) -> int:
        path.unlink()
        os.mkfifo(path)
        return opened(*arguments)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(NotRegularError):
        open_regular(path)


def test_a_folder_and_a_missing_file_raise_what_open_raises(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "a")


def test_a_signal_right_after_opening_closes_the_file_once(tmp_path: Path, monkeypatch) -> None:
    """Closing it again raises "Bad file descriptor" instead of the signal's exception."""

    def interrupted(opens: Callable[..., Any]) -> Callable[..., Any]:
        def open_then_stop(*args: Any, **kwargs: Any) -> Any:
            with opens(*args, **kwargs):
                raise KeyboardInterrupt

        return open_then_stop

    (tmp_path / "a").write_bytes(b"content")
    monkeypatch.setattr(os, "fdopen", interrupted(os.fdopen))
    monkeypatch.setattr(regular_file, "open", interrupted(open), raising=False)
    with pytest.raises(KeyboardInterrupt):
        open_regular(tmp_path / "a")
