"""Batch norm statistics of the new images, without a change of the network's function."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

MIN_MOMENTUM = 0.1
"""Weight of a batch in the running statistics: torch's default."""


@torch.no_grad()
def restore_statistics(model: nn.Module, batches: Iterable[torch.Tensor]) -> int:
    """Measure batch norm statistics on training images and compensate in scale and shift.

    In converted weights, batch norm is often folded away (mean 0, variance 1), and ImageNet
    statistics differ from those of X-rays. In training mode such a layer normalises by the batch,
    and the network computes something other than the pretrained function. This function sets the
    mean and variance of every layer to those of its inputs and adapts scale and shift, so that
    inference does not change and training starts from the same function.

    Args:
        model: A network; left in inference mode.
        batches: float32 images (N, 3, H, W), a few hundred in total.

    Returns:
        The number of adapted layers.
    """
    model.eval()
    moments = [_Moments(m) for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    try:
        for images in batches:
            model(images)
    finally:
        for of_layer in moments:
            of_layer.hook.remove()
    for of_layer in moments:
        of_layer.rebase()
    return len(moments)


def follow_batches(model: nn.Module) -> None:
    """Raise the momentum of trained batch norms to a value that suits a short training.

    Keras' NASNet uses a momentum of 0.0003, which suits its 250 epochs of a million images. Here
    an epoch has a few dozen steps, and the running statistics would lag far behind the weights.
    Layers with a larger momentum keep it.

    Args:
        model: Changed in place; batch norms without trained weights stay as they are.
    """
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.weight.requires_grad:
            layer.momentum = max(layer.momentum or 0.0, MIN_MOMENTUM)


class _Moments:
    """Sums of the inputs of one batch norm and of their squares, per channel."""

    def __init__(self, layer: nn.BatchNorm2d) -> None:
        self.layer = layer
        self.total = torch.zeros(layer.num_features, dtype=torch.float64)
        self.squares = torch.zeros(layer.num_features, dtype=torch.float64)
        self.pixels = 0
        self.hook = layer.register_forward_pre_hook(self._collect)

    def _collect(self, _: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        values = inputs[0].double()
        self.total += values.sum((0, 2, 3))
        self.squares += values.square().sum((0, 2, 3))
        self.pixels += values.numel() // values.shape[1]

    def rebase(self) -> None:
        """Set the measured moments, and compensate for the change in scale and shift."""
        layer = self.layer
        if layer.running_mean is None or layer.running_var is None or not self.pixels:
            return
        mean = self.total / self.pixels
        variance = (self.squares / self.pixels - mean.square()).clamp_min(1e-12)
        scale = layer.weight / torch.sqrt(layer.running_var + layer.eps)
        layer.bias.add_(scale * (mean.float() - layer.running_mean))
        layer.weight.copy_(scale * torch.sqrt(variance.float() + layer.eps))
        layer.running_mean.copy_(mean.float())
        layer.running_var.copy_(variance.float())
