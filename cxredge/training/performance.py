"""Memory, memory layout and number formats that make training fast."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from cxredge.errors import CxredgeError

# Constants of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4

_BEFORE_POOL = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.Hardswish)


def keep_freed_memory() -> bool:
    """Keep the memory of freed tensors in the process instead of returning it to the kernel.

    Every training step allocates the same few hundred megabytes. By default, glibc maps large
    blocks on each allocation, and the kernel zeroes their pages at every step; on 2 cores this
    doubled the duration of a step.

    Returns:
        Whether the C library accepted the settings; only glibc does.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 256 << 20))
    return all(mallopt(name, value) for name, value in settings)


@contextmanager
def explain_out_of_memory(batch_size: int) -> Iterator[None]:
    """Turn a device's out-of-memory error into one that names the option to change.

    Args:
        batch_size: Images per step.

    Raises:
        CxredgeError: The device ran out of memory.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        cause = str(error).splitlines()[0]
        advice = "Use --precision bf16-mixed, a later --freeze, or --accelerator cpu."
        if batch_size > 1:
            advice = f"Try --batch-size {batch_size // 2}, or --precision bf16-mixed."
        raise CxredgeError(
            f"The device's memory does not hold a step of {batch_size} images: {cause}", advice
        ) from None


def keep_depthwise_in_float32(model: nn.Module) -> None:
    """Exclude depthwise convolutions from mixed precision.

    A CPU's BF16 instructions compute matrix products. Depthwise convolutions cannot use them, and
    their backward pass takes several times as long in BF16 as in float32 (torch 2.15, AVX512-BF16:
    an epoch of MobileNet V2 on cached features takes 2.9 s with BF16 and 1.8 s with float32
    depthwise convolutions). Their output is BF16 again: batch norm and activations then need half
    the memory, which saves a tenth of an epoch.

    Args:
        model: Changed in place; weights and their names stay the same.
    """
    for module in model.modules():
        if type(module) is nn.Conv2d and module.groups == module.in_channels > 1:
            # Only the class changes, so that copies and state dicts stay compatible.
            module.__class__ = _Float32Conv2d


class _Float32Conv2d(nn.Conv2d):
    """Convolution that computes in float32 and returns the number format of its input."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float()).to(input.dtype)


def keep_gradients_channels_last(model: nn.Module) -> None:
    """Convert the gradient of the final pooling layer to channels last.

    Activations are stored channels last, but the backward pass of the mean over pixels returns
    channels first. Activation, batch norm and convolution before the pool would then mix both
    layouts: the backward pass of batch norm over the last 1280 channels of MobileNet V2 takes 9 ms
    instead of 1 ms (torch 2.15, batches of 32 on 2 cores). Values do not change.

    Args:
        model: Gets a hook on its last activation or batch norm; its state dict does not change.
    """
    last = [module for module in model.modules() if isinstance(module, _BEFORE_POOL)][-1]
    last.register_forward_hook(_convert_gradient)


def _convert_gradient(
    module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
) -> None:
    if output.requires_grad:
        output.register_hook(_channels_last)  # type: ignore[no-untyped-call]


def _channels_last(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)
