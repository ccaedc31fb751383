"""Tensors of a pickled torch module, read without importing or calling a class of the file."""

from __future__ import annotations

import pickle
import types
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from torch import nn

_REBUILD = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "Size"): torch.Size,
    **{
        ("torch", name): getattr(torch, name)
        for name in ("FloatStorage", "HalfStorage", "DoubleStorage", "LongStorage", "BoolStorage")
    },
}
"""What a file may call: nothing but the constructors of tensors and of ordered dictionaries."""


class _Inert:
    """Stand-in for every class and function of the file: it keeps a state and does nothing."""

    # The reader of the old format asks a module's class for it.
    dump_patches = False

    def __new__(cls, *_: object, **__: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __call__(self, *_: object, **__: object) -> _Inert:
        """Return another stand-in, as the call of a method that was pickled."""
        return _Inert()

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return a constructor of tensors, or the stand-in."""
        return _REBUILD.get((module, name), _Inert)


def read_pickled_module(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a file written by ``torch.save(module, path)``, by name.

    No class of the file is imported: objects that are not tensors become stand-ins without code.

    Returns:
        The tensors; none if the file holds something other than a module, or is damaged.
    """
    reader = types.SimpleNamespace(
        __name__=__name__,
        Unpickler=_Unpickler,
        load=lambda stream, **how: _Unpickler(stream, **how).load(),
    )
    if _is_script(path):
        return {}
    with warnings.catch_warnings():
        # The old format holds the source of its classes, which is not that of the stand-in.
        warnings.simplefilter("ignore")
        try:
            loaded = torch.load(path, map_location="cpu", pickle_module=reader, weights_only=False)
        # The unpickler raises many kinds of exceptions for a file that is not a module.
        except Exception:
            return {}
    return _state(loaded, "")


def _is_script(path: Path) -> bool:
    """Return whether torch would hand the file to its compiler, which does not use the reader."""
    return zipfile.is_zipfile(path) and any(
        name.endswith("constants.pkl") for name in zipfile.ZipFile(path).namelist()
    )


def _state(module: object, prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a module and of its children, named as by ``state_dict()``."""
    state = getattr(module, "state", None) if isinstance(module, _Inert) else None
    if not isinstance(state, dict):
        return {}
    found = {}
    for kind in ("_parameters", "_buffers"):
        for name, tensor in _items(state, kind):
            if isinstance(tensor, torch.Tensor):
                found[prefix + name] = tensor.data if isinstance(tensor, nn.Parameter) else tensor
    for name, child in _items(state, "_modules"):
        found |= _state(child, f"{prefix}{name}.")
    return found


def _items(state: dict[str, Any], kind: str) -> list[tuple[str, Any]]:
    part = state.get(kind)
    return [(str(name), value) for name, value in part.items()] if isinstance(part, dict) else []
