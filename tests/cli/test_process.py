"""Commands that are stopped by a signal, that have closed streams, or that are not alone."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxredge.artifacts.exclusive import exclusive
from cxredge.cli.output import Outcome, Output, Verbosity
from cxredge.cli.process import Terminated, terminable
from tests.cli.test_bad_inputs import one_line
from tests.cli.test_output import app_of

CXREDGE = [sys.executable, "-m", "cxredge"]


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams(phantoms: Path, tmp_path: Path, closed: str) -> None:
    out = tmp_path / "c.csv"
    words = [*CXREDGE, "calibrate", phantoms / "manifest.csv", "--count", 8, "--out", out, "--json"]
    ran = subprocess.run(
        ["sh", "-c", f"{shlex.join(map(str, words))} {closed}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    lines = out.read_text().splitlines()
    assert len(lines) == 9
    assert all(line.count(",") == lines[0].count(",") for line in lines), "no message among them"
    if ">&-" not in closed.split():
        assert json.loads(ran.stdout)["images"] == 8


def test_files_do_not_get_the_numbers_of_closed_streams() -> None:
    code = (
        "import os, sys\n"
        "from cxredge.cli.process import open_closed_streams\n"
        "open_closed_streams()\n"
        "print('lost'); print('lost', file=sys.stderr); sys.stdin.read()\n"
        "sys.exit(os.open(sys.executable, os.O_RDONLY) <= 2)"
    )
    for closed in ("0", "1", "2", "0 1", "1 2", "0 1 2"):
        redirections = " ".join(f"{number}>&-" for number in closed.split())
        line = f"{shlex.join([sys.executable, '-c', code])} {redirections}"
        assert subprocess.run(["sh", "-c", line], stdin=subprocess.DEVNULL).returncode == 0, closed


def test_message_that_cannot_be_printed_does_not_stop_the_work(monkeypatch, capsys) -> None:
    class Gone:
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    output = Output(verbosity=Verbosity.NORMAL)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", Gone())
        output.note("epoch 1")
        output.explain("details")
        output.show(Outcome(1, "done", "next"))
    assert capsys.readouterr().out == "done\n"


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signal_leaves_nothing_half_written(
    model: Path, tmp_path: Path, stop: signal.Signals
) -> None:
    lock = tmp_path / "out" / ".bundle.lock"
    words = [*CXREDGE, "build", model, "--precision", "fp32", "--out", lock.parent / "bundle"]
    with subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        # Background jobs of a shell ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(stop, signal.SIG_DFL),
    ) as running:  # fmt: skip
        while running.poll() is None and not lock.exists():
            time.sleep(0.001)
        running.send_signal(stop)
        said = running.communicate()[1].decode()
    assert running.returncode == 128 + stop, said
    name = (
        "Interrupted." if stop is signal.SIGINT else f"Terminated by {signal.Signals(stop).name}."
    )
    assert said.splitlines()[-1] == f"Error: {name}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_becomes_a_sentence_and_an_exit_code(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_DFL)  # background jobs may ignore it

    def stops(output: Output) -> Outcome:
        os.kill(os.getpid(), number)
        time.sleep(5)
        return Outcome(1, "not reached")

    try:
        result = CliRunner().invoke(app_of(stops), ["run"])
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert result.exit_code == 128 + number
    assert result.stderr == f"Error: Terminated by {number.name}.\n"


def test_signals_that_are_ignored_stay_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminable():
            os.kill(os.getpid(), signal.SIGHUP)
            with pytest.raises(Terminated):
                os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_two_commands_into_one_output(
    model: Path, built: Path, calibration: Path, phantoms: Path, tmp_path: Path, cxredge
) -> None:
    manifest = model / "manifest.csv"
    commands = {
        "build": [model, "--precision", "fp32"],
        "quantize": [model, "--calibration", calibration, "--evaluate", manifest],
        "deploy": [built],
        "data folder": [phantoms / "images"],
        "data phantoms": ["--patients", 3, "--size", 32],
        "demo": [],
    }
    for name, arguments in commands.items():
        out = tmp_path / name.replace(" ", "-")
        with exclusive(out):
            ran = cxredge(*name.split(), *arguments, "--out", out, "-q")
        one_line(ran, f"Another process ({os.getpid()}) is writing {out}", "another --out")
        assert list(tmp_path.iterdir()) == [], name


def test_lock_of_a_dead_process_does_not_matter(phantoms: Path, tmp_path: Path, cxredge) -> None:
    (tmp_path / ".set.lock").write_text("1\n")
    ran = cxredge("data", "folder", phantoms / "images", "--out", tmp_path / "set")
    assert ran.code == 0, ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_interrupted_demo_is_resumed(tmp_path: Path, monkeypatch, cxredge) -> None:
    done: list[str] = []

    def stage(name: str) -> None:
        def stop_once(output: Output, out: Path) -> Outcome:
            done.append(name)
            (out / name).touch()
            if name == "_train" and done.count(name) == 1:
                raise KeyboardInterrupt
            return Outcome({}, "")

        monkeypatch.setattr(f"cxredge.cli.demo.{name}", stop_once)

    for name in ("_make_data", "_train", "_build", "_measure"):
        stage(name)
    monkeypatch.setattr("cxredge.cli.demo._outcome", lambda *_: Outcome({}, "done"))
    out = tmp_path / "demo"
    assert cxredge("demo", "--out", out, "-q").code == 130
    assert cxredge("demo", "--out", out, "-q").code == 0
    assert done == ["_make_data", "_train", "_make_data", "_train", "_build", "_measure"]
    assert not any(path.name.startswith(".") for path in tmp_path.rglob("*"))
    one_line(cxredge("demo", "--out", out, "-q"), "is not empty")
