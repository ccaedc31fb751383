"""A fake TensorRT in host memory, with exactly the names of one version.

Names come from ``tests/data/tensorrt-names.json``: reaching one that the version lacks raises
AttributeError, as the real bindings do, and reaching one that this fake does not know raises too.
Numbers of enum members differ from version to version. An engine is the ONNX file itself, which
ONNX Runtime runs at the addresses that the session sets.
"""

from __future__ import annotations

import enum
import json
import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

from tests.backends.fake_tensorrt_builder import BUILDING
from tests.backends.fake_tensorrt_runtime import RUNNING
from tests.backends.fake_tensorrt_world import TENSORS, World
from tests.backends.real_bindings import NAMES

FILE = json.loads(NAMES.read_text())
SUBCLASSED = ("ILogger", "IProfiler", "IProgressMonitor", "IInt8EntropyCalibrator2")


def module(world: World) -> ModuleType:
    """Return the bindings of a version."""
    names = set(FILE["everywhere"])
    names |= {
        name for name, versions in FILE["in some"].items() if world.version in versions.split()
    }
    trt = ModuleType("tensorrt")
    trt.__version__ = world.number
    for one in sorted(name for name in names if "." not in name):
        members = sorted(name.split(".")[1] for name in names if name.startswith(f"{one}."))
        setattr(trt, one, _make_class(world, one, members))
    return trt


def _make_class(world: World, one: str, members: list[str]) -> type:
    capitals = [name for name in members if name.isupper() or name.startswith("SM")]
    if one not in SUBCLASSED and capitals:
        numbers = list(range(len(capitals)))
        random.Random(world.version + one).shuffle(numbers)
        return enum.IntEnum(one, dict(zip(capitals, numbers, strict=True)))
    known = BEHAVIOUR.get(one, {})
    body: dict[str, Any] = {name: known.get(name, _unknown(f"{one}.{name}")) for name in members}
    body["_names"], body["_world"] = frozenset(members), world
    body["__setattr__"] = _set
    if "__init__" in known:
        body["__init__"] = known["__init__"]
    if one in SUBCLASSED:
        # Python code derives from these classes and adds attributes.
        del body["__setattr__"]
    return type(one, (), body)


def _set(self: Any, name: str, value: Any) -> None:
    if not name.startswith("_"):
        if name not in self._names:
            raise AttributeError(f"{type(self).__name__} has no {name} in {self._world.version}")
        self._world.seen[f"{type(self).__name__}.{name}"] = value
    object.__setattr__(self, name, value)


def _unknown(name: str) -> Any:
    def get(self: Any) -> Any:
        raise NotImplementedError(f"the fake has no {name}")

    return property(get, lambda self, value: self.__dict__.__setitem__(name, value))


def _nothing(self: Any) -> None:
    """Begin an object that Python code derives from."""


BEHAVIOUR: dict[str, dict[str, Any]] = {
    "ILogger": {"__init__": _nothing},
    "IProfiler": {"__init__": _nothing},
    "IProgressMonitor": {"__init__": _nothing},
    "IInt8EntropyCalibrator2": {"__init__": _nothing},
    **TENSORS,
    **BUILDING,
    **RUNNING,
}


def install(world: World, patch: Callable[[str, Any], None]) -> None:
    """Make ``world`` the only TensorRT that can be imported.

    Args:
        world: The version and its GPU.
        patch: Replaces an entry of ``sys.modules`` for one test.
    """
    world.trt = module(world)
    is_rtx = world.version == "rtx"
    patch("tensorrt", None if is_rtx else world.trt)
    patch("tensorrt_rtx", world.trt if is_rtx else None)
