"""Derived values in a document: records repeat properties, which a reader must not believe."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from cxredge.artifacts.records import to_json

_ROUNDING = 1e-9


def differences(values: Any, record: Any, where: str = "") -> Iterator[str]:
    """Yield the derived numbers of a document that its other values do not give, a clause each.

    Derived texts are not compared: another version may word them differently.

    Args:
        values: The JSON value that the record was read from.
        record: The record, or a value in it.
        where: Keys that lead to it, for messages.
    """
    if isinstance(record, Mapping) and isinstance(values, dict):
        for key, value in record.items():
            name = str(to_json(key))
            yield from differences(values.get(name), value, f"{where}{name}.")
    elif isinstance(record, (list, tuple)) and isinstance(values, list):
        for index, (one, value) in enumerate(zip(values, record, strict=False)):
            yield from differences(one, value, f"{where}{index}.")
    elif dataclasses.is_dataclass(record) and isinstance(values, dict):
        stored = {field.name for field in dataclasses.fields(record)}
        for key in stored & values.keys():
            yield from differences(values[key], getattr(record, key), f"{where}{key}.")
        for key in getattr(record, "JSON_KEYS", ()):
            if key not in stored and key in values:
                yield from _difference(values[key], to_json(getattr(record, key)), where + key)


def _difference(stated: Any, found: Any, where: str) -> Iterator[str]:
    if _is_number(found) or _is_number(stated):
        same = _is_number(found) and _is_number(stated) and abs(stated - found) <= _ROUNDING
    elif isinstance(found, list) and all(map(_is_number, found)):
        same = isinstance(stated, list) and len(stated) == len(found)
        if same:
            for one, other in zip(stated, found, strict=True):
                yield from _difference(one, other, where)
            return
    else:
        return
    if not same:
        yield f"'{where}' is {stated}, but the other values give {found}"


def _is_number(value: object) -> bool:
    return isinstance(value, (bool, int, float))
