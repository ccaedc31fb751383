"""Decoding of JSON that may come from anywhere: bounded depth and numbers, one value per key."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from cxredge.errors import ArtifactError

MAX_DEPTH = 64
"""Maximum nesting; cards have eight levels."""
MAX_VALUES = 8_000_000
"""Maximum number of values, which bounds the memory that they occupy to about 0.5 GB."""
_MAX_INTEGER = 2**63
_MAX_DIGITS = 20


class _RefusedError(ValueError):
    """JSON that is valid but that no file of cxredge holds; the message says what it holds."""


def decode_json(content: bytes, origin: Path | str, remedy: str) -> Any:
    """Decode JSON in UTF-8.

    NaN, infinity, integers beyond 64 bits and keys that occur twice in an object are refused:
    readers disagree about them.

    Args:
        content: The text.
        origin: Origin of the text, for messages.
        remedy: Hint for the user if it is invalid, as a sentence.

    Raises:
        ArtifactError: It is too deep, has too many values, or is not JSON.
    """
    try:
        return _decode(content)
    except RecursionError:
        problem = "is nested too deeply"
    except UnicodeDecodeError as error:
        problem = f"is not JSON: it is not UTF-8 text (byte {error.start})"
    except json.JSONDecodeError as error:
        problem = f"is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
    except _RefusedError as refused:
        problem = str(refused)
    raise ArtifactError(f"{origin} {problem}.", remedy)


def shorten(value: object) -> str:
    """Return a value of a file as it is quoted in messages: on one line, at most 60 characters."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _decode(content: bytes) -> Any:
    if not content.strip():
        raise _RefusedError("is empty")
    if sum(map(content.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise _RefusedError(f"holds more than {MAX_VALUES // 1_000_000} million values")
    text = content.decode("utf-8")
    if text.startswith("\ufeff"):
        raise _RefusedError("is not JSON: it begins with a byte order mark")
    # msgspec's decoder refuses the lone surrogates that stand for odd bytes in file names.
    values = json.loads(
        text,
        parse_constant=_refuse_constant,
        parse_int=_integer,
        parse_float=_finite,
        object_pairs_hook=_object,
    )
    if _is_deeper(values, MAX_DEPTH):
        raise _RefusedError("is nested too deeply")
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise _RefusedError(f"is not JSON: {name} is not a JSON number")


def _integer(digits: str) -> int:
    # Python's own limit of digits is far larger, and its message names a setting of Python.
    if len(digits) > _MAX_DIGITS or abs(int(digits)) >= _MAX_INTEGER:
        raise _RefusedError(f"holds the number {shorten(digits)[1:-1]}, which exceeds 64 bits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise _RefusedError(f"holds the number {shorten(digits)[1:-1]}, which is too large")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = counts.most_common(1)[0][0]
        raise _RefusedError(f"has the key {shorten(twice)} twice in one object")
    return found


def _is_deeper(values: Any, levels: int) -> bool:
    containers = [values] if isinstance(values, (dict, list)) else []
    for _ in range(levels):
        containers = [
            value
            for container in containers
            for value in (container.values() if isinstance(container, dict) else container)
            if isinstance(value, (dict, list))
        ]
        if not containers:
            return False
    return True
