"""Padding and stride of Keras' networks where the library's network of that name differs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cxredge.models.keras_names import keras_layer_names
from cxredge.models.nasnet_mobile import pad_for_stride_2

GEOMETRY_MARK = "keras_geometry"


class EndPaddedConv2d(nn.Conv2d):
    """3x3 convolution of stride 2 that pads bottom and right only, as Keras' MobileNet does.

    Args:
        like: Convolution that provides weight and channels.
        by_size: Whether to pad top and left too if the size is odd (padding "same").
    """

    def __init__(self, like: nn.Conv2d, *, by_size: bool) -> None:
        super().__init__(
            like.in_channels, like.out_channels, 3, stride=2, groups=like.groups, bias=False
        )
        self.weight = like.weight
        self.by_size = by_size

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, out_channels, about H / 2, about W / 2)."""
        padded = pad_for_stride_2(x, 3) if self.by_size else F.pad(x, (0, 1, 0, 1))
        return super().forward(padded)


def match_keras_geometry(model: nn.Module, network: str) -> None:
    """Give a timm network the padding and stride of the Keras network of that name.

    Padding and stride are not weights, so the network is marked with a buffer, `GEOMETRY_MARK`. A
    state dict saved from it shows that it must be built in the same way again
    (:func:`needs_keras_geometry`). The function is idempotent.

    * ``mobilenet_v1``: convolutions of stride 2 pad bottom and right only. timm pads all sides,
      which shifts each of the five by one pixel up and left for even sizes.
    * ``resnet50_v2``: Keras has the stride in the last block of a stage, timm in the first block of
      the next. Sampling every second pixel before a convolution equals a dilation of 2, which
      timm's 3x3 convolutions of stride 2 get here; all other layers are pointwise. The pool of the
      stem pads with zeros, and the stem has a bias (a new parameter ``stem.conv.bias``), which does
      not commute with that padding.
    * ``nasnet_mobile``: no change.

    Args:
        model: The backbone; changed in place. Parameter names do not change.
        network: Name in the zoo.

    Raises:
        CxredgeError: Keras weights are not supported for the network, or ``model`` is another one.
    """
    keras_layer_names(model, network)
    if network == "mobilenet_v1":
        _pad_after(model)
    elif network == "resnet50_v2":
        _stride_before_blocks(model)
    else:
        return
    model.register_buffer(GEOMETRY_MARK, torch.ones((), dtype=torch.uint8))


def needs_keras_geometry(state: Mapping[str, Tensor]) -> bool:
    """Return whether a state dict of a backbone or run needs the padding and stride of Keras."""
    return GEOMETRY_MARK in state or f"backbone.{GEOMETRY_MARK}" in state


def _pad_after(model: nn.Module) -> None:
    for path, module in list(model.named_modules()):
        if (
            isinstance(module, nn.Conv2d)
            and module.stride == (2, 2)
            and not isinstance(module, EndPaddedConv2d)
        ):
            parent, _, name = path.rpartition(".")
            by_size = module.groups == 1  # Only the stem has padding "same" in Keras.
            setattr(model.get_submodule(parent), name, EndPaddedConv2d(module, by_size=by_size))


def _stride_before_blocks(model: nn.Module) -> None:
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and path.endswith(".conv2") and module.stride == (2, 2):
            module.dilation = module.padding = (2, 2)
    stem = model.get_submodule("stem")
    stem.pool = nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, stride=2))
    convolution = stem.get_submodule("conv")
    if getattr(convolution, "bias", None) is None:
        weight = convolution.get_parameter("weight")
        convolution.bias = nn.Parameter(weight.new_zeros(weight.shape[0]))
