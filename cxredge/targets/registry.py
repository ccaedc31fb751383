"""The known targets, read from the TOML files beside this module."""

from __future__ import annotations

import difflib
import platform
import sys
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from cxredge.errors import CxredgeError
from cxredge.vocabulary import Dialect, Precision

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_MACHINES = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}


@dataclass(frozen=True)
class Target:
    """One kind of device.

    Attributes:
        name: What ``--target`` takes.
        title: What it is, in words.
        backend: The runtime that serves it.
        dialect: How INT8 is written for it.
        precisions: What can be built, in no order.
        machine: Processor architecture, as ``uname -m`` says it on Linux.
        notes: What a person should know.
    """

    name: str
    title: str
    backend: str
    dialect: Dialect
    precisions: tuple[Precision, ...]
    machine: str
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the target as JSON values."""
        return {
            **self.__dict__,
            "dialect": self.dialect.value,
            "precisions": [precision.value for precision in self.precisions],
            "notes": list(self.notes),
        }


@cache
def all_targets() -> dict[str, Target]:
    """Return the targets by name."""
    files = sorted(
        (f for f in resources.files("cxredge.targets").iterdir() if f.name.endswith(".toml")),
        key=lambda f: f.name,
    )
    targets = [_parse(tomllib.loads(f.read_text(encoding="utf-8"))) for f in files]
    return {target.name: target for target in targets}


def find_target(name: str) -> Target:
    """Return a target by name; ``here`` is the one that this machine is.

    Raises:
        CxredgeError: There is none of that name.
    """
    if name == "here":
        return target_of_this_machine()
    targets = all_targets()
    if name in targets:
        return targets[name]
    near = difflib.get_close_matches(name, targets, n=1)
    raise CxredgeError(
        f"Unknown target '{name}'. Known: {', '.join(targets)}, or 'here' for this machine.",
        f"Did you mean '{near[0]}'?" if near else "See: cxredge targets",
    )


def target_of_this_machine() -> Target:
    """Return the CPU target that this machine is.

    Raises:
        CxredgeError: The processor is neither x86-64 nor 64-bit Arm.
    """
    machine = this_machine()
    for target in all_targets().values():
        if target.machine == machine:
            return target
    raise CxredgeError(f"No target fits this machine ({machine}).", "See: cxredge targets")


def this_machine() -> str:
    """Return this machine's architecture under the name that Linux gives it."""
    return _MACHINES.get(platform.machine(), platform.machine())


def _parse(values: dict[str, Any]) -> Target:
    return Target(
        **{
            **values,
            "dialect": Dialect(values["dialect"]),
            "precisions": tuple(Precision(p) for p in values["precisions"]),
            "notes": tuple(values["notes"]),
        }
    )
