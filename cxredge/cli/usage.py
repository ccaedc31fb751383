"""Explanations of options that a command does not accept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import typer
from typer.core import TyperCommand

from cxredge.cli.other_tools import NAMES

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Click's error for unsuitable arguments; Typer does not export it."""

_CUTOFF = 0.7
_SENTENCES = {
    "greater_than_equal": "{value} is less than {ge}, the minimum.",
    "greater_than": "{value} is not more than {gt}.",
    "less_than_equal": "{value} is more than {le}, the maximum.",
    "less_than": "{value} is not less than {lt}.",
    "int_parsing": "{value!r} is not a whole number.",
    "int_from_float": "{value!r} is not a whole number.",
    "float_parsing": "{value!r} is not a number.",
    "value_error": "{error}",
}
"""Sentences by type of Pydantic's errors, which Typer passes on in Pydantic's words."""


class Command(TyperCommand):
    """A command that names the value and the limit, and knows the option names of other tools."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises:
            UsageError: An option is unknown, or a value is not valid.
        """
        try:
            rest: list[str] = super().parse_args(ctx, args)
        except UsageError as error:
            self._explain(ctx, error)
            raise
        parameter: Any
        for parameter in self.params:
            value = ctx.params.get(parameter.name)
            if not all(math.isfinite(number) for number in _floats(value)):
                message = f"{value} is not a finite number."
                raise typer.BadParameter(message, ctx=ctx, param=parameter)
        return rest

    def _explain(self, ctx: Any, error: Exception) -> None:
        """Replace the message of an error by one that says more."""
        unknown = getattr(error, "option_name", None)
        if unknown is not None and hasattr(error, "possibilities"):
            error.possibilities = None  # The format of Click.
            error.message = self._unknown(ctx, unknown)  # type: ignore[attr-defined]
        elif isinstance(error, typer.BadParameter):
            error.message = _describe(error)

    def _unknown(self, ctx: Any, unknown: str) -> str:
        """Return the message for an unknown option, with the option that was probably meant."""
        own = self.get_params(ctx)
        known = {name: one for one in own for name in (*one.opts, *one.secondary_opts)}
        named = known | {one.metavar: one for one in own if one.param_type_name == "argument"}
        message = f"No such option: {unknown}."
        for meant, note in NAMES.get(unknown.lstrip("-").replace("_", "-").lower(), ()):
            name, _, value = meant.partition(" ")
            if name in named and value in str(named[name].get_help_record(ctx)):
                return f"{message} Use {meant}: {note or _first_sentence(named[name])}"
        words = {name.lstrip("-"): name for name in known}
        near = get_close_matches(unknown.lstrip("-").replace("_", "-"), words, cutoff=_CUTOFF)
        if near:
            return f"{message} Did you mean {' or '.join(words[one] for one in near)}?"
        return f"{message} All options: {ctx.command_path} --help"


def _describe(error: typer.BadParameter) -> str:
    """Return the message of an error for a value, in this program's words."""
    problems = getattr(error.__cause__, "errors", None)
    if problems is None:
        return error.message
    return _sentence(problems()) or error.message.removeprefix("Value error, ")


def _sentence(problems: Sequence[Mapping[str, Any]]) -> str:
    """Return the first problem as a sentence; empty if its type is not known."""
    if not problems:
        return ""
    first = problems[0]
    context = first.get("ctx", {})
    # The values of a list or tuple are validated one by one, with errors of their own.
    inner = getattr(context.get("error"), "errors", None)
    if inner is not None:
        return _sentence(inner())
    value = first.get("input")
    if str(value).lower().lstrip("+-") == "nan":
        return f"{value} is not a finite number."
    return _SENTENCES.get(str(first.get("type")), "").format(value=value, **context)


def _first_sentence(parameter: Any) -> str:
    """Return the start of an option's help, which begins its explanation after a colon."""
    text = str(parameter.help or "").split(". ")[0].split("; ")[0].split(" [default")[0].rstrip(".")
    return f"{text[:1].lower()}{text[1:]}."


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _floats(one)
