"""Keras weight files for the tests, written without Keras."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cxredge.models.keras_names import RECIPES, keras_layer_names
from cxredge.models.keras_weights import BATCH_NORM_WEIGHTS

KerasLayers = dict[str, dict[str, NDArray[np.float32]]]


def scrambled(key: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return numbers in [0, 1) from a hash of key and index, equal on every machine."""
    index = np.arange(int(np.prod(shape)), dtype=np.uint64)
    mixed: Any = (index * 2654435761 + zlib.crc32(key.encode())) % 2**32
    mixed = (mixed ^ (mixed >> 16)) * 2246822519 % 2**32
    mixed = (mixed ^ (mixed >> 13)) * 3266489917 % 2**32
    uniform: NDArray[np.float64] = (mixed / 2**32).reshape(shape)
    return uniform


def fill_by_formula(model: nn.Module) -> None:
    """Set every weight by formula, including batch norms, whose defaults would hide errors."""
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.ndim == 0:  # counters and marks
                continue
            uniform = scrambled(name, tuple(tensor.shape))
            if tensor.ndim > 1:
                values = (2 * uniform - 1) * (3 / np.prod(tensor.shape[1:])) ** 0.5
            elif name.endswith(("running_var", "weight")):
                values = 0.6 + 0.5 * uniform
            else:
                values = 0.6 * uniform - 0.3
            tensor.copy_(torch.from_numpy(values))


def formula_images(count: int, height: int, width: int) -> Tensor:
    """Return float32 images (count, 3, height, width) in [-1, 1) by the same formula."""
    values = 2 * scrambled("image", (count, 3, height, width)) - 1
    return torch.from_numpy(values).float()


def to_keras(model: nn.Module, network: str) -> KerasLayers:
    """Return the weights of a torch network in the layout of Keras."""
    layers: KerasLayers = {}
    eps = RECIPES[network].eps
    for path, layer in keras_layer_names(model, network).items():
        module = model.get_submodule(path)
        weights = layers.setdefault(layer, {})
        if isinstance(module, nn.BatchNorm2d):
            for name, keras_name in BATCH_NORM_WEIGHTS.items():
                weights[keras_name] = getattr(module, name).detach().numpy().copy()
            weights["moving_variance"] += module.eps - eps
            continue
        kernel = module.get_parameter("weight").detach()
        separable = layer.startswith("separable")
        if isinstance(module, nn.Conv2d) and module.groups > 1:
            weights["depthwise_kernel"] = kernel.permute(2, 3, 0, 1).numpy()
        else:
            weights["pointwise_kernel" if separable else "kernel"] = kernel.permute(
                2, 3, 1, 0
            ).numpy()
        bias = getattr(module, "bias", None)
        if bias is not None:
            weights["bias"] = bias.detach().numpy()
    return layers


def write_legacy_h5(path: Path, layers: KerasLayers, *, below: str = "", chunk: int = 0) -> Path:
    """Write the legacy layout: names in attributes, one group per layer.

    Args:
        path: File to write.
        layers: Weights by layer and name.
        below: Group of all layers; a file of a whole model has ``model_weights``.
        chunk: Number of layer names per attribute; 0 for one attribute.
    """
    h5py: Any = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        root = file.require_group(below) if below else file
        names = ["input_1", *layers]
        if chunk:
            for number, start in enumerate(range(0, len(names), chunk)):
                root.attrs[f"layer_names{number}"] = np.array(names[start : start + chunk], "S")
        else:
            root.attrs["layer_names"] = np.array(names, "S")
        for layer in names:
            group = root.create_group(layer)
            weights = layers.get(layer, {})
            group.attrs["weight_names"] = np.array([f"{layer}/{name}:0" for name in weights], "S")
            for name, value in weights.items():
                group.create_dataset(f"{layer}/{name}:0", data=value)
    return path
