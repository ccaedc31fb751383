"""Groups of options that several commands share.

Typer takes one parameter per option and has no groups. A parameter of a command whose annotation
is a frozen dataclass therefore stands for one option per field: Typer sees the fields, the command
receives the instance. The fields carry ``Annotated[..., typer.Option(...)]`` and their defaults.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from inspect import Parameter
from typing import Any, get_type_hints


def expand(parameters: Iterable[Parameter]) -> list[Parameter]:
    """Return the parameters that Typer sees: those of a group in the place of the group.

    Every parameter becomes keyword-only, so that required and optional ones may alternate.
    """
    expanded = []
    for parameter in parameters:
        if _is_group(parameter):
            expanded += _fields_of(parameter.annotation)
        else:
            expanded.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))
    return expanded


def collect(parameters: Iterable[Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a command: its own values, and an instance of each group.

    Args:
        parameters: The parameters of the command, groups included.
        values: Values parsed by Typer, by the names that :func:`expand` returned.
    """
    return {
        parameter.name: (
            parameter.annotation(**{f.name: values[f.name] for f in fields(parameter.annotation)})
            if _is_group(parameter)
            else values[parameter.name]
        )
        for parameter in parameters
    }


def _is_group(parameter: Parameter) -> bool:
    return inspect.isclass(parameter.annotation) and is_dataclass(parameter.annotation)


def _fields_of(group: type[Any]) -> list[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
