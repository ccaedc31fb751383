"""``cxredge inspect``: description of a file or folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from cxredge.cli.command import command
from cxredge.cli.output import Outcome, Output, Verbosity

_DIGITS = 4
_WHOLE = 10_000
"""Value from which a number is shown without decimals."""
_LONG = 60
"""Number of characters above which each value has a separate line."""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "inspect")(inspect)


def inspect(
    output: Output,
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="Run, model, bundle, archive, manifest, .onnx, .plan or result."
        ),
    ],
) -> Outcome:
    """Describe an artifact: kind, origin and integrity.

    Bundles and engines are summarised; -v shows all facts.
    """
    from cxredge.cli.digest import digest
    from cxredge.diagnosis.description import description_as_json
    from cxredge.diagnosis.inspection import inspect as stage

    found = stage(path)
    values = description_as_json(found)
    shown = values if output.verbosity is Verbosity.VERBOSE else digest(found)
    return Outcome(values, "\n".join(_lines(shown)))


def _lines(found: Mapping[str, object], indent: str = "") -> list[str]:
    lines = []
    for key, value in found.items():
        if value in ({}, [], ()):
            lines.append(f"{indent}{key}: none")
        elif isinstance(value, dict):
            lines.append(f"{indent}{key}:")
            lines += _lines(value, indent + "  ")
        elif isinstance(value, list) and all(isinstance(item, dict) for item in value):
            lines.append(f"{indent}{key}:")
            for item in value:
                lines += [*_lines(item, indent + "  "), ""]
        elif isinstance(value, list) and any(len(str(item)) > _LONG for item in value):
            lines += [f"{indent}{key}:", *(f"{indent}  {_in_words(item)}" for item in value)]
        else:
            lines.append(f"{indent}{key}: {_in_words(value)}")
    return lines


def _in_words(value: object) -> str:
    """Return a value for people; --json has all digits."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= _WHOLE else f"{value:.{_DIGITS}g}"
    if isinstance(value, list):
        items = ", ".join(map(_in_words, value))
        return f"[{items}]" if any(isinstance(item, list) for item in value) else items
    return str(value)
