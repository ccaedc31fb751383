"""Typed records as JSON: one place that reads, validates and writes them.

A record is a frozen dataclass. Its annotations are the schema: :mod:`msgspec` checks types, ranges
(``Annotated[float, msgspec.Meta(ge=0, le=1)]``), enum members and required keys. Unknown keys are
ignored, so that a newer version may add some.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Set
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, UnsetType

from cxredge.artifacts.json_text import decode_json, shorten
from cxredge.artifacts.regular_file import read_regular
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.metrics.number_types import (
    Batch,
    Count,
    Difference,
    NonNegative,
    Positive,
    Share,
    Threads,
    Threshold,
)

__all__ = [
    "UNSET", "Batch", "Count", "Difference", "NonNegative", "Positive", "Sha256", "Share",
    "Threads", "Threshold", "UnsetType", "decode_json", "from_json", "read_json_file",
    "read_record", "shorten", "to_json",
]  # fmt: skip

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
"""64 hexadecimal digits."""

MAX_JSON_BYTES = 64 * 2**20
"""Largest JSON file that is read; a bench result with every latency is about 1 MB."""

Record = TypeVar("Record")


def to_json(record: object) -> Any:
    """Return a record as JSON values.

    Keys are the record's fields in order, or what its class lists in ``JSON_KEYS``: fields and
    properties, for documents that repeat derived values. A field that is UNSET is left out. Enums
    are written by value, sequences as lists.
    """
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        names = getattr(record, "JSON_KEYS", None) or [f.name for f in dataclasses.fields(record)]
        found = {name: getattr(record, name) for name in names}
        return {name: to_json(value) for name, value in found.items() if value is not UNSET}
    if isinstance(record, Enum):
        return record.value
    if isinstance(record, Mapping):
        return {to_json(key): to_json(value) for key, value in record.items()}
    if isinstance(record, (list, tuple, Set)):
        return [to_json(value) for value in record]
    return record


def from_json(values: Any, kind: type[Record], origin: Path | str, remedy: str) -> Record:
    """Validate JSON values and return them as a record.

    Args:
        values: Values returned by a JSON decoder.
        kind: The record's class.
        origin: Origin of the values, for messages.
        remedy: Hint for the user if they are invalid, as a sentence.

    Raises:
        ArtifactError: A key is missing or holds a wrong value; the message names the key, what was
            expected and what was found.
    """
    try:
        return msgspec.convert(values, kind)
    except CxredgeError as error:
        raise ArtifactError(f"{origin} is not valid: {error.message}", remedy) from None
    except msgspec.ValidationError as error:
        problem = _describe(error, values, kind)
        raise ArtifactError(f"{origin} is not valid: {problem}.", remedy) from None
    except UnicodeEncodeError:
        raise ArtifactError(
            f"{origin} is not valid: a key is not text that UTF-8 can encode.", remedy
        ) from None


def read_json_file(path: Path, remedy: str = "Make the artifact again.") -> Any:
    """Read a JSON file as :func:`decode_json` does.

    Raises:
        ArtifactError: The file is missing, no regular file, too large, too deep or not JSON.
    """
    try:
        return decode_json(read_regular(path, MAX_JSON_BYTES, remedy), path, remedy)
    except FileNotFoundError:
        raise ArtifactError(f"{path} does not exist.", "Check the path.") from None


def read_record(path: Path, kind: type[Record], remedy: str = "Make the artifact again.") -> Record:
    """Read a JSON file into a record.

    Raises:
        ArtifactError: It cannot be read, or its content is not a valid record.
    """
    return from_json(read_json_file(path, remedy), kind, path, remedy)


def _describe(error: msgspec.ValidationError, values: Any, kind: Any) -> str:
    """Describe a validation error: the key, what was expected and what was found."""
    problem, _, path = str(error).partition(" - at ")
    of_a_key = path.startswith("`key`")
    keys, found, kind = _locate(values, kind, path.removeprefix("`key` in ").strip("`"))
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", problem):
        return f"key '{'.'.join([*keys, missing[1]])}' is missing"
    where = f"key '{'.'.join(keys)}'" if keys else "the file"
    if wrong := re.fullmatch(r"Invalid enum value (.*)", problem):
        choices = _choices(_key_type(kind) if of_a_key else kind)
        what = f"unknown key {wrong[1]}" if of_a_key else f"found {wrong[1]}"
        return f"{where}: {what}; expected {', '.join(choices) or 'another value'}"
    return f"{where}: {problem}" + ("" if ", got" in problem else f", found {shorten(found)}")


def _locate(values: Any, kind: Any, path: str) -> tuple[list[str], Any, Any]:
    """Return the keys that lead to an invalid value, the value, and its type.

    msgspec writes a mapping's key as ``[...]``; it stops at the first value
    that does not convert.
    """
    keys: list[str] = []
    for name, index in re.findall(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]", path):
        kind = _element(kind, name)
        if index == "...":
            index = next((k for k, v in values.items() if not _converts(v, kind)), index)
        key = name or index
        keys.append(str(key))
        try:
            values = values[int(key)] if isinstance(values, list) else values[key]
        except (KeyError, IndexError, TypeError, ValueError):
            return keys, None, kind
    return keys, values, kind


def _converts(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _element(kind: Any, name: str) -> Any:
    """Return the type of a field, or of a container's elements; Any if unknown."""
    for option in (kind, *get_args(kind)):
        base = get_origin(option) or option
        if name and name in getattr(base, "__dataclass_fields__", {}):
            return _field_type(base, name)
        if not name and isinstance(base, type) and issubclass(base, Mapping):
            return get_args(option)[1]
        if not name and base in (tuple, list):
            return get_args(option)[0]
    return Any


def _field_type(record: Any, name: str) -> Any:
    """Return the type of a field, with the type variables of generic bases resolved."""
    found = get_type_hints(record, include_extras=True)[name]
    for base in getattr(record, "__orig_bases__", ()):
        parameters = getattr(get_origin(base), "__parameters__", ())
        found = dict(zip(parameters, get_args(base), strict=False)).get(found, found)
    return found


def _key_type(kind: Any) -> Any:
    """Return the type of a mapping's keys."""
    options = (kind, *get_args(kind))
    return next((get_args(o)[0] for o in options if get_origin(o) is Mapping), Any)


def _choices(kind: Any) -> list[str]:
    """Return the values of an enumeration or of literals; empty for other types."""
    for option in (kind, *get_args(kind)):
        if isinstance(option, type) and issubclass(option, Enum):
            return [repr(member.value) for member in option]
        if get_origin(option) is Literal:
            return [repr(value) for value in get_args(option)]
    return []
