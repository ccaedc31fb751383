"""A dataclass in a command's signature becomes one option per field."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer

from cxredge.cli.command import command
from cxredge.cli.option_groups import collect, expand
from cxredge.cli.output import Outcome, Output


@dataclass(frozen=True)
class Limits:
    lowest: Annotated[int, typer.Option("--lowest", help="The lowest.")]
    highest: Annotated[int, typer.Option("--highest", min=0, help="The highest.")] = 9


def run(
    output: Output,
    *,
    first: Annotated[str, typer.Option("--first")] = "a",
    limits: Limits,
    last: Annotated[str, typer.Option("--last")],
) -> Outcome:
    """Do something."""
    return Outcome([first, limits.lowest, limits.highest, last], "")


PARAMETERS = list(inspect.signature(run, eval_str=True).parameters.values())[1:]


def test_fields_take_the_place_of_the_group() -> None:
    expanded = expand(PARAMETERS)
    assert [parameter.name for parameter in expanded] == ["first", "lowest", "highest", "last"]
    defaults = [parameter.default for parameter in expanded]
    assert defaults == ["a", inspect.Parameter.empty, 9, inspect.Parameter.empty]
    assert {parameter.kind for parameter in expanded} == {inspect.Parameter.KEYWORD_ONLY}


def test_the_command_receives_the_group() -> None:
    values = {"first": "b", "lowest": 1, "highest": 2, "last": "c"}
    assert collect(PARAMETERS, values) == {"first": "b", "limits": Limits(1, 2), "last": "c"}


def test_two_groups_with_the_same_option_are_refused() -> None:
    def twice(output: Output, one: Limits, two: Limits) -> Outcome: ...

    with pytest.raises(ValueError, match="duplicate parameter name: 'lowest'"):
        command(typer.Typer(), "twice")(twice)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--lowest", "3", "--last", "z", "--json"], 0, '"a",\n  3,\n  9,\n  "z"'),
        (["--last", "z"], 2, "Missing option '--lowest'"),
        (["--lowest", "3", "--last", "z", "--highest", "-1"], 2, "--highest"),
        (["--help"], 0, "The highest."),
    ],
)
def test_typer_parses_the_fields(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    command(app, "run")(run)
    with pytest.raises(SystemExit) as stopped:
        app(arguments)
    assert (stopped.value.code or 0) == code
    printed = capsys.readouterr()
    assert words in printed.out + printed.err
