"""Weight files, read without unpickling code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn

from cxredge.errors import CxredgeError
from cxredge.models.pickled_module import read_pickled_module

_HEADS = ("classifier.", "fc.", "head.", "AuxLogits.")


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read tensors by name from ``.safetensors``, or ``.pth`` / ``.pt`` (weights only).

    Of a pickled module the tensors are read, and its classes are not imported.

    Raises:
        CxredgeError: The file is missing, damaged or of another type, or holds other objects than
            tensors.
    """
    if not path.is_file():
        raise CxredgeError(
            f"Weights file {path} does not exist.", "Check --weights (imagenet, none or a file)."
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        if path.suffix in (".pth", ".pt"):
            return _load(path)
    except CxredgeError:
        raise
    except UnpicklingError as error:
        if "Weights only load failed" not in str(error):
            raise _unreadable(path, error) from None
        raise CxredgeError(
            f"{path} cannot be read as weights: it holds pickled objects other than tensors, and "
            "unpickling them would run code from the file.",
            "Save only model.state_dict(), preferably as .safetensors.",
        ) from None
    except Exception as error:
        # The unpickler raises many kinds of exceptions for a damaged file, and the exception of
        # safetensors derives directly from Exception.
        raise _unreadable(path, error) from None
    raise CxredgeError(f"{path} is not a weights file: expected .safetensors, .pth, .pt or .h5.")


def load_into(model: nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Load the weights of a backbone or of a run into a classifier.

    A head in the file (``classifier``, ``fc``, ``head`` or Inception's ``AuxLogits``) is ignored,
    unless the file is a cxredge run with the same number of classes.

    Raises:
        CxredgeError: Names or shapes do not match the network.
    """
    if any(name.startswith("backbone.") for name in state):
        target: nn.Module = model
        own = model.state_dict()
        given = {
            name: tensor
            for name, tensor in state.items()
            if not name.startswith("head.") or (name in own and own[name].shape == tensor.shape)
        }
        optional = {name for name in own if name.startswith("head.")}
    else:
        target = model.get_submodule("backbone")
        given = {name: t for name, t in state.items() if not name.startswith(_HEADS)}
        optional = set()
    expected = target.state_dict()
    optional |= {name for name in expected if name.endswith("num_batches_tracked")}
    missing = sorted(set(expected) - set(given) - optional)
    unexpected = sorted(set(given) - set(expected))
    shapes = [n for n in given if n in expected and given[n].shape != expected[n].shape]
    for problem, names in (
        ("missing", missing),
        ("not expected", unexpected),
        ("of another shape", shapes),
    ):
        if names:
            first = f"'{names[0]}'"
            if names is shapes:
                found, wanted = tuple(given[names[0]].shape), tuple(expected[names[0]].shape)
                first += f" has shape {found}, the network {wanted}"
            raise CxredgeError(
                f"{path} does not fit this network: {len(names)} tensor(s) {problem}, "
                f"first {first}.",
                "Check --model and --weights.",
            )
    target.load_state_dict(dict(given), strict=False)


def _load(path: Path) -> dict[str, torch.Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        module = read_pickled_module(path)
        if not module:
            raise error from None
        return module
    return _tensors(path, loaded)


def _tensors(path: Path, loaded: object) -> dict[str, torch.Tensor]:
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(torch.is_tensor(v) for v in loaded.values()):
        raise CxredgeError(
            f"{path} does not hold a state dict of tensors.", "Save model.state_dict()."
        )
    return loaded


def _unreadable(path: Path, error: Exception) -> CxredgeError:
    cause = str(error).splitlines()[0][:200]
    return CxredgeError(
        f"{path} cannot be read as weights: {cause}", "Check that the file is complete."
    )
