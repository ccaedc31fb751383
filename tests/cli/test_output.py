"""What every command promises: one JSON value, quiet when asked, interrupted cleanly."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cxredge.cli import COMMANDS
from cxredge.cli.command import command
from cxredge.cli.output import Outcome, Output, finite, printable
from cxredge.errors import CxredgeError, GateRefused
from tests.conftest import Run


def app_of(function) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)
    command(app, "run")(function)
    command(app, "other")(lambda output: Outcome(1, "one"))
    return app


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (CxredgeError("It broke.", "Mend it."), 1, "It broke."),
        (GateRefused("Too bad.", "", {"gate": 1}), 3, "Too bad."),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (PermissionError(13, "Permission denied", "/x"), 1, "/x: Permission denied"),
        (ModuleNotFoundError("no", name="torch"), 1, "pip install 'cxredge[train]'"),
        (ZeroDivisionError("by zero"), 1, "Internal error: ZeroDivisionError"),
    ],
)
def test_errors_become_sentences_and_exit_codes(
    error: BaseException, code: int, words: str
) -> None:
    def fails(output: Output) -> Outcome:
        raise error

    result = CliRunner().invoke(app_of(fails), ["run", "--json"])
    assert result.exit_code == code
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert "error" in json.loads(result.stdout)


def test_a_missing_module_of_our_own_is_a_defect_not_an_extra() -> None:
    def fails(output: Output) -> Outcome:
        raise ModuleNotFoundError("no", name="cxredge.gone")

    result = CliRunner().invoke(app_of(fails), ["run"])
    assert isinstance(result.exception, ModuleNotFoundError)


def test_numbers_that_json_cannot_say_are_null() -> None:
    assert finite({"a": [float("nan"), 1.0], "b": (float("inf"),)}) == {
        "a": [None, 1.0],
        "b": [None],
    }


def test_text_goes_to_stdout_and_the_next_step_to_stderr(cxredge, phantoms: Path) -> None:
    loud = cxredge("data", "audit", phantoms / "manifest.csv")
    quiet = cxredge("data", "audit", phantoms / "manifest.csv", "-q")
    assert "Next: cxredge train" in loud.err
    assert quiet.err == ""
    assert loud.out == quiet.out != ""


def test_every_command_takes_json_quiet_and_verbose(cxredge) -> None:
    names = [name for name in COMMANDS if name not in ("data", "targets")]
    for name in [*names, "data prepare", "data audit", "targets"]:
        shown = cxredge(*name.split(), "--help").out
        assert "--json" in shown
        assert "-q, --quiet" in shown
        assert "-v, --verbose" in shown


def test_help_lists_the_commands_in_order_with_whole_sentences(cxredge) -> None:
    shown = cxredge("--help").out
    listed = [line.split()[0] for line in shown.split("Commands:\n")[1].splitlines() if line]
    assert listed == list(COMMANDS)
    for name, summary in COMMANDS.items():
        assert summary in " ".join(cxredge(name, "--help").out.split())
    for group in ([], ["data"], ["targets"]):
        assert "..." not in cxredge(*group, "--help").out.split("Commands:\n")[1]


def test_python_m_is_the_same_command(cxredge) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cxredge", "targets", "--json"], capture_output=True, check=True
    )
    assert json.loads(done.stdout) == cxredge("targets", "--json").json


def test_version() -> None:
    done = subprocess.run([sys.executable, "-m", "cxredge", "--version"], capture_output=True)
    assert done.stdout.startswith(b"cxredge 0.")


def test_commands_to_go_on_with_can_be_copied_whatever_a_folder_is_called(
    bundle: Path, phantoms: Path, cxredge: Run
) -> None:
    """A space, another script, quotes or a line break in a path, and it is still one word."""
    strange = bundle.rename(bundle.with_name("mein Ordner\n肺 'x'"))
    image = shutil.copy(next(phantoms.rglob("*.png")), strange.parent)
    done = cxredge("predict", strange, image, "--out", strange.with_name("p.csv"))
    assert done.code == 0, done.err
    assert "Next: " not in done.err, "no manifest is known"
    manifest = shutil.copy(phantoms / "manifest.csv", strange.parent)
    done = cxredge("predict", strange, image, "--out", strange.with_name("p.csv"))
    step = done.err[done.err.index("Next: ") :]
    assert shlex.split(step) == ["Next:", "cxredge", "evaluate", str(strange), str(manifest)]
    inside = strange / "golden.npz"
    refused = cxredge("predict", inside, image, "--out", strange.with_name("q.csv"))
    assert refused.code == 1
    command = refused.err[refused.err.index("cxredge inspect") :]
    assert shlex.split(command) == ["cxredge", "inspect", str(inside)]


@pytest.mark.parametrize(
    ("dialect", "latency_ms", "kept", "noted", "advised"),
    [
        ("cpu", 4.0, ["a", "b"], False, False),
        ("cpu", 5.0, ["a", "b"], True, True),
        ("cpu", 5.0, ["a"], True, False),
        ("tensorrt", 5.0, ["a", "b"], False, False),
    ],
)
def test_int8_that_is_not_faster_than_fp32_is_reported(
    dialect: str, latency_ms: float, kept: list[str], noted: bool, advised: bool
) -> None:
    from cxredge.cli.quantize_outcome import _chosen_step

    steps = [
        {"step": "first", "latency_ms_here": 9.0, "in_float": ["a"]},
        {"step": "last", "latency_ms_here": latency_ms, "in_float": kept},
    ]
    text = _chosen_step(
        {"dialect": dialect, "chosen": "last", "latency_ms_here_fp32": 4.5, "steps": steps}
    )
    assert ("not faster than FP32" in text) is noted
    assert ("--aim-logit-error" in text) is advised


def test_a_misspelt_command_gets_a_suggestion(cxredge) -> None:
    ran = cxredge("predct")
    assert ran.code == 2
    assert "Did you mean 'predict'" in ran.err


HOSTILE = "\x1b[2J\x1b]0;owned\x07 r\udcf6 \x9b31m \u202egnp.exe \r \x7f"
ESCAPED = r"\x1b[2J\x1b]0;owned\x07 r\xf6 \x9b31m \u202egnp.exe \x0d \x7f"


def test_a_terminal_is_not_controlled_by_file_names(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    output.show(Outcome({}, f"{HOSTILE}\n\tWrote", HOSTILE))
    output.note(HOSTILE)
    output.explain(HOSTILE)
    output.fail(CxredgeError(HOSTILE, HOSTILE))
    said = capsys.readouterr()
    assert said.out == f"{ESCAPED}\n\tWrote\n"
    assert said.err.splitlines() == [
        f"Next: {ESCAPED}", ESCAPED, ESCAPED, f"Error: {ESCAPED}", f"  {ESCAPED}",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "a\nb\tc", "Cramér's V ≥ 0.5, 胸部 👍🏽", "100 %"])
def test_text_is_printed_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    "arguments", [["\x1b[2J"], ["models", "--\x1b[2J"], ["inspect", "\x1b[2J"]]
)
def test_names_in_wrong_usage_do_not_control_a_terminal(arguments: list[str], cxredge: Run) -> None:
    ran = cxredge(*arguments)
    assert ran.code
    assert "\x1b" not in ran.err
    assert r"\x1b[2J" in ran.err
