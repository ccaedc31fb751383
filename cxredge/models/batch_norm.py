"""Batch norm statistics measured anew, without changing what the network computes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

LEAST_MOMENTUM = 0.1
"""Share of a batch in the averages: torch's own default."""


@torch.no_grad()
def restore_statistics(model: nn.Module, batches: Iterable[torch.Tensor]) -> int:
    """Measure batch norm's input statistics on training images and absorb the difference.

    Converted weights often arrive with batch norm folded away (mean 0, variance 1), and ImageNet
    statistics are not those of X-rays. In training mode such a layer would normalise by the batch
    and so compute something else than the pretrained network did. Here every layer gets the mean
    and variance it really sees, and its scale and shift take up the difference, so that inference
    is unchanged and training starts from the same function.

    Args:
        model: A network; left in inference mode.
        batches: float32 images (N, 3, H, W), a few hundred in all.

    Returns:
        The number of layers restored.
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
    """Let the statistics of batch norms that train follow the batches within a short training.

    Keras' NASNet takes 0.0003 of each batch into its averages, which suits its 250 epochs of a
    million images; here an epoch has a few dozen steps, and inference would go by statistics that
    training has long left behind. Layers whose momentum is larger keep it.

    Args:
        model: Changed in place; batch norms without trained weights stay as they are.
    """
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.weight.requires_grad:
            layer.momentum = max(layer.momentum or 0.0, LEAST_MOMENTUM)


class _Moments:
    """Sums over the inputs of one batch norm, by channel."""

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
        """Take over the measured moments; scale and shift absorb the difference."""
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
