"""Keras layer names of the modules of torch networks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from cxredge.errors import CxredgeError

Rename = tuple[str, str | Callable[[re.Match[str]], str]]


@dataclass(frozen=True)
class Recipe:
    """Mapping from the modules of one network to Keras layers.

    Attributes:
        renames: Substitutions that turn a torch module path into a Keras layer name, in order.
        marker: Name of a layer that only this network has.
        head: Name of the layer that returns logits; it is not read, because a run has a new head.
        eps: Keras' batch-norm epsilon.
    """

    renames: tuple[Rename, ...]
    marker: str
    head: str
    eps: float


def _mobilenet_block(match: re.Match[str]) -> str:
    """Number timm's blocks 0.0, 1.0, 1.1, ... consecutively from 1, as Keras does."""
    first_of_stage = (1, 2, 4, 6, 12)
    return f"block_{first_of_stage[int(match[1])] + int(match[2])}"


RECIPES: Mapping[str, Recipe] = {
    "nasnet_mobile": Recipe(
        renames=(
            (r"^stem_conv\.(conv|bn)$", r"stem_\g<1>1"),
            (r"^stem_reduction_(\d)\.", r"reduction:stem_\1."),
            (r"^reduction_(\d)\.", r"reduction:reduce_\1."),
            (r"^normal_(\d+)\.", r"normal:\1."),
            (r"^(reduction:\w+)\.left_5\.", r"\1.left_4."),  # Two nodes share left4 in Keras.
            (r"^(\w+):(\w+)\.squeeze\.(conv|bn)$", r"\1_\3_1_\2"),
            (r"^\w+:(\w+)\.adjust\.conv$", r"adjust_conv_projection_\1"),
            (r"^\w+:(\w+)\.adjust\.conv_(\d)$", r"adjust_conv_\2_\1"),
            (r"^\w+:(\w+)\.adjust\.bn$", r"adjust_bn_\1"),
            (r"^(\w+):(\w+)\.([a-z]+)_(\d)\.bn_(\d)$", r"separable_conv_\5_bn_\1_\3\4_\2"),
            (r"^(\w+):(\w+)\.([a-z]+)_(\d)\.[a-z]+_(\d)$", r"separable_conv_\5_\1_\3\4_\2"),
        ),
        marker="separable_conv_1_normal_left1_0",
        head="predictions",
        eps=1e-3,
    ),
    "mobilenet_v1": Recipe(
        renames=(
            (r"^conv_stem$", "conv1"),
            (r"^bn1$", "conv1_bn"),
            (r"^blocks\.(\d)\.(\d)", _mobilenet_block),
            (r"^block_(\d+)\.conv_(dw|pw)$", r"conv_\2_\1"),
            (r"^block_(\d+)\.bn1$", r"conv_dw_\1_bn"),
            (r"^block_(\d+)\.bn2$", r"conv_pw_\1_bn"),
        ),
        marker="conv_dw_1",
        head="conv_preds",
        eps=1e-3,
    ),
    "resnet50_v2": Recipe(
        renames=(
            (r"^stem\.conv$", "conv1_conv"),
            (
                r"^stages\.(\d)\.blocks\.(\d)\.",
                lambda match: f"conv{int(match[1]) + 2}_block{int(match[2]) + 1}.",
            ),
            (r"\.norm1$", "_preact_bn"),
            (r"\.norm2$", "_1_bn"),
            (r"\.norm3$", "_2_bn"),
            (r"\.downsample\.conv$", "_0_conv"),
            (r"\.conv(\d)$", r"_\1_conv"),
            (r"^norm$", "post_bn"),
        ),
        marker="conv2_block1_preact_bn",
        head="predictions",
        eps=1.001e-5,
    ),
}


def keras_layer_names(model: nn.Module, network: str) -> dict[str, str]:
    """Return the Keras layer of each module with parameters.

    Args:
        model: The backbone.
        network: Name in the zoo.

    Returns:
        Keras layer name by torch module path. The depthwise and the pointwise part of a separable
        convolution have the same layer.

    Raises:
        CxredgeError: Keras weights are not supported for the network, or ``model`` is another one.
    """
    if network not in RECIPES:
        raise CxredgeError(
            f"Keras' .h5 weights are read for {', '.join(RECIPES)}, not for {network}.",
            "Give a .safetensors or .pth file of the library's network (cxredge models --json).",
        )
    names = {}
    for path, module in model.named_modules():
        if next(module.parameters(recurse=False), None) is None:
            continue
        name = path
        for pattern, replacement in RECIPES[network].renames:
            name = re.sub(pattern, replacement, name)
        if name == path or "." in name:
            raise CxredgeError(
                f"The model ({type(model).__name__}) has a module '{path}', which is not part of "
                f"{network}; expected the torch network of that name."
            )
        names[path] = name
    return names
