"""Loader for the HDF5 weight files of ``keras.applications``.

Two differences between the frameworks are resolved in the weights, so that a plain state dict is
enough:

* Batch-norm epsilon: only ``running_var + eps`` matters, so the difference is added to
  ``running_var``.
* Biases of the residual stream (ResNet V2), which timm's convolutions lack: only batch norms read
  the stream, so the accumulated biases are subtracted from their ``running_mean``.

Padding and stride cannot be expressed in weights; see :mod:`cxredge.models.keras_geometry`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cxredge.errors import CxredgeError
from cxredge.models.keras_file import Layers, open_layers
from cxredge.models.keras_names import RECIPES, keras_layer_names

BATCH_NORM_WEIGHTS = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def load_keras_weights(model: nn.Module, path: Path, network: str) -> None:
    """Load a Keras weight file, with or without top, into a backbone; a top is ignored.

    All other layers of file and backbone must match. On an error, the backbone is not changed.

    Args:
        model: The backbone; changed in place. It must have the padding and stride of Keras:
            :func:`cxredge.models.keras_geometry.match_keras_geometry`.
        path: HDF5 file in Keras' legacy layout.
        network: Name in the zoo of the network in file and model.

    Raises:
        CxredgeError: The file is missing or not HDF5, belongs to another network, or has a missing
            or extra layer, or a weight that is missing or has the wrong shape or type.
        ModuleNotFoundError: h5py is not installed.
    """
    names = keras_layer_names(model, network)
    state: dict[str, Tensor] = {}
    with open_layers(path) as layers:
        _check_layers(path, layers, names, network)
        for module_path, layer in names.items():
            module = model.get_submodule(module_path)
            values = _values(module, layers[layer], layer, RECIPES[network].eps)
            state |= {f"{module_path}.{name}": value for name, value in values.items()}
        if network == "resnet50_v2":
            _absorb_residual_biases(state, layers, names)
    model.load_state_dict(state, strict=False)


def _check_layers(path: Path, layers: Layers, names: Mapping[str, str], network: str) -> None:
    """Compare the layers of the file with those of the network."""
    recipe = RECIPES[network]
    if recipe.marker not in layers:
        others = [name for name, other in RECIPES.items() if other.marker in layers]
        found = others[0] if others else f"another network (it starts with {list(layers)[:3]})"
        raise CxredgeError(
            f"{path} has the weights of {found}; expected {network}, with layer '{recipe.marker}'.",
            "Check --model and --weights.",
        )
    for module, layer in names.items():
        if layer not in layers:
            near = difflib.get_close_matches(layer, layers, n=1)
            raise CxredgeError(
                f"{path}: layer '{layer}', for module '{module}', is missing among {len(layers)} "
                f"layers; the closest is '{near[0] if near else 'none'}'."
            )
    if extra := sorted(set(layers) - set(names.values()) - {recipe.head}):
        raise CxredgeError(
            f"{path} has {len(extra)} layers that {network} lacks, such as '{extra[0]}'."
        )


def _values(
    module: nn.Module, weights: Mapping[str, Any], layer: str, eps: float
) -> dict[str, Tensor]:
    """Return the parameters of one module by torch name."""
    if isinstance(module, nn.BatchNorm2d):
        values = {
            name: _read(weights, (keras_name,), module.weight.shape, layer)
            for name, keras_name in BATCH_NORM_WEIGHTS.items()
        }
        values["running_var"] += eps - module.eps
        return values
    values = {"weight": _read_kernel(module, weights, layer)}
    if getattr(module, "bias", None) is not None:
        values["bias"] = _read(weights, ("bias",), module.get_parameter("bias").shape, layer)
    return values


def _read_kernel(module: nn.Module, weights: Mapping[str, Any], layer: str) -> Tensor:
    """Read a kernel and transpose it to torch's layout.

    Keras stores (height, width, in, out), depthwise (height, width, channels, 1); torch
    (out, in, height, width), depthwise (channels, 1, height, width).
    """
    target = module.get_parameter("weight").shape
    out_channels, in_channels, *window = target
    if isinstance(module, nn.Conv2d) and module.groups > 1:
        shape = (*window, out_channels, 1)
        kernel = _read(weights, ("depthwise_kernel", "kernel"), shape, layer)
        return kernel.permute(2, 3, 0, 1).contiguous()
    shape = (*window, in_channels, out_channels)
    kernel = _read(weights, ("pointwise_kernel", "kernel"), shape, layer)
    return kernel.permute(3, 2, 0, 1).contiguous()


def _read(
    weights: Mapping[str, Any], names: tuple[str, ...], shape: tuple[int, ...], layer: str
) -> Tensor:
    """Read the first weight of ``names`` that the layer has, as float32.

    The shape is checked before the data is read, because a small file can declare a huge array.
    """
    found = next((weights[name] for name in names if name in weights), None)
    if found is None:
        raise CxredgeError(
            f"Layer '{layer}' has the weights {sorted(weights)}; expected {' or '.join(names)}."
        )
    if tuple(found.shape) != tuple(shape) or found.dtype.kind != "f":
        raise CxredgeError(
            f"Layer '{layer}': '{found.name}' is {found.dtype} of shape {tuple(found.shape)}; "
            f"expected floating point of shape {tuple(shape)}."
        )
    return torch.from_numpy(np.asarray(found[()], dtype=np.float32))


def _absorb_residual_biases(
    state: dict[str, Tensor], layers: Layers, names: Mapping[str, str]
) -> None:
    """Move the biases of the residual stream into the batch norms that read it.

    With pre-activation (He et al., "Identity Mappings in Deep Residual Networks", 2016) the stream
    is a sum that only batch norms read, and BN(x + b; mean) = BN(x; mean - b). A block with a
    projected shortcut starts a new sum.
    """

    def bias(path: str) -> Tensor:
        layer = names[path]
        channels = state[f"{path}.weight"].shape[:1]
        return _read(layers[layer], ("bias",), channels, layer)

    # A stem with a bias (match_keras_geometry adds one) keeps it.
    stream = torch.zeros(1) if "stem.conv.bias" in state else bias("stem.conv")
    blocks = [path.removesuffix(".norm1") for path in names if path.endswith(".norm1")]
    for block in blocks:
        state[f"{block}.norm1.running_mean"] -= stream
        if f"{block}.downsample.conv" in names:
            stream = bias(f"{block}.downsample.conv")
        stream = stream + bias(f"{block}.conv3")
    state["norm.running_mean"] -= stream
