"""Strict reader of a target's TOML file: anything unexpected is an error with its location."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar

from cxredge.errors import CxredgeError
from cxredge.targets.record import Target

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_MACHINES = ("x86_64", "aarch64")

Record = TypeVar("Record")


def read_target(text: str, file: str) -> Target:
    """Read a target from a TOML file.

    Args:
        text: Content of the file.
        file: Name of the file: the target's name with ``.toml``.

    Raises:
        CxredgeError: It is not TOML, or a key is missing, unknown or has a wrong value.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CxredgeError(f"{file} is not valid TOML: {error}.") from None
    target = _record(Target, values, file, "")
    _check(target, file)
    return target


def _check(target: Target, file: str) -> None:
    """Check the values beyond their types."""
    if target.name != file.removesuffix(".toml"):
        raise _refusal(file, "name", f"'{target.name}'", "the name of the file")
    if target.machine not in _MACHINES:
        raise _refusal(file, "machine", f"'{target.machine}'", " or ".join(_MACHINES))
    if not target.precisions:
        raise _refusal(file, "precisions", "empty", "at least one")
    if target.backend not in {trial.backend for trial in target.verified}:
        raise _refusal(file, "verified", f"without '{target.backend}'", "an entry for it")
    for index, release in enumerate(target.jetpack):
        if len(release.l4t) != 2:
            where = f"jetpack[{index}].l4t"
            raise _refusal(file, where, f"{len(release.l4t)} releases", "the first and the last")


def _record(kind: type[Record], values: Any, file: str, where: str) -> Record:
    if not isinstance(values, Mapping):
        raise _refusal(file, where, repr(values), "a table")
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise _refusal(file, _under(where, key), "unknown", f"one of {', '.join(fields)}")
    missing = [n for n, f in fields.items() if n not in values and f.default is dataclasses.MISSING]
    if missing:
        raise _refusal(file, _under(where, missing[0]), "missing", "a value")
    hints = typing.get_type_hints(kind)
    return kind(**{k: _value(hints[k], v, file, _under(where, k)) for k, v in values.items()})


def _value(hint: Any, value: Any, file: str, where: str) -> Any:
    """Convert a TOML value to the type of a record's field."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _value(arguments[0], value, file, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise _refusal(file, where, repr(value), "an array")
        return tuple(_value(arguments[0], v, file, f"{where}[{i}]") for i, v in enumerate(value))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _record(hint, value, file, where)
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError:
            known = ", ".join(str(member.value) for member in hint)
            raise _refusal(file, where, repr(value), f"one of {known}") from None
    # bool is a subclass of int in Python, but not in TOML.
    if type(value) is not hint:
        raise _refusal(file, where, repr(value), f"a value of type {hint.__name__}")
    return value


def _under(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _refusal(file: str, where: str, found: str, expected: str) -> CxredgeError:
    return CxredgeError(f"{file}: '{where}' is {found}; expected {expected}.")
