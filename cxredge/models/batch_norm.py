"""Batch norm statistics measured anew, without changing what the network computes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


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
    layers = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    sums: dict[nn.BatchNorm2d, list[torch.Tensor]] = {}

    def collect(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        values = inputs[0].double()
        batch = torch.stack([values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])
        pixels = torch.tensor(values.numel() / values.shape[1])
        if layer in sums:
            sums[layer][0] += batch
            sums[layer][1] += pixels
        else:
            sums[layer] = [batch, pixels]

    hooks = [layer.register_forward_pre_hook(collect) for layer in layers]
    try:
        for images in batches:
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    for layer, ((total, squares), pixels) in sums.items():
        mean = (total / pixels).float()
        variance = (squares / pixels - (total / pixels).square()).clamp_min(1e-12).float()
        _rebase(layer, mean, variance)
    return len(sums)


def _rebase(layer: nn.BatchNorm2d, mean: torch.Tensor, variance: torch.Tensor) -> None:
    if layer.running_mean is None or layer.running_var is None:
        return
    scale = layer.weight / torch.sqrt(layer.running_var + layer.eps)
    layer.bias += scale * (mean - layer.running_mean)
    layer.weight.copy_(scale * torch.sqrt(variance + layer.eps))
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(variance)
