"""Batch norm with the statistics of the batches of all processes of a training.

On a GPU the layers become torch's and timm's own. Those do not run on a processor, so the layers
here do, with torch's kernels for the statistics and for the sums of the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d, SyncBatchNormAct
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from cxredge.errors import CxredgeError


def synchronise_batch_norm(model: nn.Module, on_processor: bool) -> int:
    """Make the trained batch norms of a network use the batches of all processes.

    Frozen ones use their running statistics, which never change, and stay as they are.

    Args:
        model: Changed in place. Only the classes of layers change, so that weights, their names and
            optimisers stay the same.
        on_processor: Whether the network is on the processor.

    Returns:
        The number of changed layers.

    Raises:
        CxredgeError: A layer is of a kind that is not known.
    """
    norms = nn.modules.batchnorm._BatchNorm
    layers: list[Any] = [m for m in model.modules() if isinstance(m, norms)]
    trained = [layer for layer in layers if _is_trained(layer)]
    classes = _ON_PROCESSOR if on_processor else _ON_GPU
    for layer in trained:
        if type(layer) not in classes:
            raise CxredgeError(
                f"Layers of the kind {type(layer).__name__} cannot be trained on several devices.",
                "Use --devices 1, or another --model.",
            )
        layer.__class__ = classes[type(layer)]
        # An attribute of torch's class: None stands for all processes.
        layer.process_group = None
    return len(trained)


def _is_trained(layer: nn.Module) -> bool:
    own = list(layer.parameters(recurse=False))
    return not own or any(parameter.requires_grad for parameter in own)


class _SynchronisedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the images of all processes, on a processor."""

    def forward(self, input: Tensor) -> Tensor:
        return _normalised(self, input) if self.training else super().forward(input)


class _SynchronisedBatchNormAct2d(BatchNormAct2d):
    """Batch norm over the images of all processes, and timm's activation behind it."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            plain: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return plain
        activated: Tensor = self.act(self.drop(_normalised(self, x)))
        return activated


_ON_PROCESSOR: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm2d: _SynchronisedBatchNorm2d,
    BatchNormAct2d: _SynchronisedBatchNormAct2d,
}
_ON_GPU: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm2d: nn.SyncBatchNorm,
    BatchNormAct2d: SyncBatchNormAct,
}


def _normalised(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
    if layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
    mean, variance, pixels = _moments(x.detach())
    _follow(layer, mean, variance, pixels)
    values: Tensor = _Normalise.apply(
        x, layer.weight, layer.bias, mean.float(), variance.float(), layer.eps, pixels
    )
    return values


def _moments(x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return float64 (C,) mean and variance of the pixels of all processes, and their number."""
    mean, variance = torch.batch_norm_update_stats(x.float(), None, None, 0.0)
    pixels = x.numel() // x.shape[1]
    mean, variance = mean.double(), variance.double()
    # In float64, the difference of the squares loses nothing that float32 could hold.
    sums = torch.cat([mean, variance + mean.square(), mean.new_ones(1)]) * pixels
    dist.all_reduce(sums)
    mean, squares = (sums[:-1] / sums[-1]).chunk(2)
    return mean, (squares - mean.square()).clamp_min(0), float(sums[-1])


@torch.no_grad()
def _follow(layer: nn.BatchNorm2d, mean: Tensor, variance: Tensor, pixels: float) -> None:
    """Update the running statistics, with the unbiased variance as torch does."""
    if layer.running_mean is None or layer.running_var is None or layer.momentum is None:
        return
    unbiased = variance * (pixels / max(1.0, pixels - 1))
    layer.running_mean.lerp_(mean.to(layer.running_mean), layer.momentum)
    layer.running_var.lerp_(unbiased.to(layer.running_var), layer.momentum)


class _Normalise(torch.autograd.Function):
    """Normalisation by statistics that depend on the inputs of all processes.

    The gradient is that of batch norm (Ioffe and Szegedy 2015), with the sums over all processes.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        pixels: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps))
        ctx.pixels = pixels  # type: ignore[attr-defined]
        return nn.functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = ctx.saved_tensors  # type: ignore[attr-defined]
        values, incoming = x.float(), gradient.float()
        _, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            incoming, values, weight, None, None, mean, inverse, True, 0.0, [False, True, True]
        )
        sums = torch.cat([of_weight, of_bias])
        dist.all_reduce(sums)
        products, total = (sums / ctx.pixels).chunk(2)  # type: ignore[attr-defined]
        scale = weight * inverse
        slope, offset, centre = (
            v.view(-1, 1, 1) for v in (scale * inverse * products, scale * total, mean)
        )
        of_input = incoming * scale.view(-1, 1, 1) - offset
        of_input.addcmul_(values - centre, slope, value=-1)
        return of_input.to(x.dtype), of_weight, of_bias, None, None, None, None
