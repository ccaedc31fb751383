"""What differs between an artifact and the plan of the stage that would make it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cxredge.artifacts.card import StagePlan
from cxredge.artifacts.records import to_json

_MAX_SHOWN = 4
_INPUTS = {
    "manifest": "the manifest (its images, labels, patients or splits)",
    "weights": "the file with the weights",
}


def describe_differences(made: Mapping[str, Any], plan: StagePlan[Any]) -> str:
    """Return what differs, such as ``seed 0, now 1``; empty if nothing does.

    Args:
        made: JSON values of the card, or of the plan, of what exists.
        plan: Inputs, settings and versions of what would be made.
    """
    found = list(_differences(made, to_json(plan)))
    more = f", and {len(found) - _MAX_SHOWN} more" if len(found) > _MAX_SHOWN else ""
    return "; ".join(found[:_MAX_SHOWN]) + more


def _differences(made: Mapping[str, Any], planned: Mapping[str, Any]) -> Iterator[str]:
    for name, before, now in _changed(made.get("parents"), planned["parents"]):
        label = _INPUTS.get(name, f"the {name}")
        yield label if before and now else f"made {'with' if before else 'without'} {label}"
    for part in ("config", "tools"):
        for name, before, now in _changed(made.get(part), planned[part]):
            yield f"{name} {_shown(before)}, now {_shown(now)}"


def _changed(made: object, planned: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the keys, of nested mappings too, whose values differ."""
    before = made if isinstance(made, Mapping) else {}
    for name in dict.fromkeys([*planned, *before]):
        old, new = before.get(name), planned.get(name)
        if isinstance(new, Mapping) and isinstance(old, Mapping):
            yield from _changed(old, new)
        elif old != new:
            yield name, old, new


def _shown(value: object) -> str:
    return "none" if value is None else str(value)
