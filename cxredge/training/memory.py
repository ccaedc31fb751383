"""Estimate of the memory of a training, before images are decoded.

The kernel ends a process that uses more memory than there is, without a message. The network is run
on torch's ``meta`` device, which computes shapes only, and what it would keep for the backward pass
is counted. Temporary memory of kernels is not, so the estimate is low.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from cxredge.data.memory_budget import available_memory
from cxredge.errors import CxredgeError
from cxredge.models import build_model
from cxredge.models.freeze import freeze_blocks, train_mode
from cxredge.models.zoo import find_network
from cxredge.training.batches import EVALUATION_BATCH
from cxredge.training.config import SEARCH, TrainConfig, TrainingHardware

_FLOAT_BYTES = 4
_COPIES_OF_WEIGHTS = 6
"""Weights, gradients, two moments of AdamW, the moving average, and the best epoch."""
_MAX_BYTES_PER_PIXEL = 4_000
"""More than any network of the zoo keeps per pixel of its input, in a training step."""
_MAX_WEIGHTS = 1_000_000_000
"""More bytes than the weights of any network of the zoo, with their copies, need."""
_ONE_DEVICE = TrainingHardware()
_SMALL = (2, 3)
"""Batch sizes of the trial; their difference is what an image needs."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Memory of a training, in bytes.

    Attributes:
        images: Decoded images of all splits.
        per_image: What a training step keeps of each of its images for the backward pass.
        validation: A batch of the validation.
        weights: Weights, their gradients, moments and copies.
    """

    images: int
    per_image: int
    validation: int
    weights: int

    def total(self, batch_size: int) -> int:
        """Return the sum, for a network and images in the same memory.

        Args:
            batch_size: Images per step.
        """
        return self.images + self.weights + max(self.per_image * batch_size, self.validation)


def estimate_memory(config: TrainConfig, classes: int, images: int) -> MemoryEstimate:
    """Estimate the memory of a training.

    Args:
        config: Training settings; the batch size does not matter.
        classes: Number of classes.
        images: Number of images of all splits.
    """
    network = find_network(config.network)
    with torch.device("meta"):
        model = build_model(config.network, classes)
    freeze_blocks(model, network, "none" if config.freeze == SEARCH else config.freeze)
    train_mode(model)
    small, large = (_saved_bytes(model, n, config.input_size) for n in _SMALL)
    weights = sum(p.numel() for p in model.parameters()) * _FLOAT_BYTES
    return MemoryEstimate(
        images=images * config.input_size**2,
        per_image=large - small,
        validation=EVALUATION_BATCH * _largest_output(model, config.input_size),
        weights=weights * _COPIES_OF_WEIGHTS,
    )


def require_memory(
    config: TrainConfig,
    classes: int,
    images: int,
    on_processor: bool,
    hardware: TrainingHardware = _ONE_DEVICE,
) -> None:
    """Refuse a training that this machine has not enough memory for.

    Every process of a training holds all images, and computes its share of a batch.

    Args:
        config: Training settings.
        classes: Number of classes.
        images: Number of images of all splits.
        on_processor: Whether the network is trained on the processor, in the images' memory. A GPU
            reports by itself that its memory is full.
        hardware: Number of devices, of this machine and of all.

    Raises:
        CxredgeError: The estimate exceeds the available memory.
    """
    batch = -(-min(config.batch_size, images) // hardware.devices)
    available = available_memory()
    if available is None:
        return
    available //= hardware.per_node
    if _fits_surely(config, images, available):
        return
    need = estimate_memory(config, classes, images)
    wanted = need.total(batch) if on_processor else need.images
    if wanted <= available:
        return
    size = config.input_size
    step = f", {_gigabytes(wanted - need.images)} for a step" if on_processor else ""
    share = f" to each of {hardware.per_node} processes" if hardware.per_node > 1 else ""
    raise CxredgeError(
        f"Training {config.network} at {size}x{size} pixels in batches of {batch} needs at least "
        f"{_gigabytes(wanted)} GB of memory: {_gigabytes(need.images)} for {images} decoded "
        f"images{step}. {_gigabytes(available)} GB are available{share}.",
        _advice(config, need, available, on_processor, hardware.devices),
    )


def _fits_surely(config: TrainConfig, images: int, available: int) -> bool:
    """Return whether the memory holds more than any network needs; an estimate takes a second."""
    in_memory = max(config.batch_size, EVALUATION_BATCH)
    pixels = config.input_size**2
    return (images + _MAX_BYTES_PER_PIXEL * in_memory) * pixels + _MAX_WEIGHTS < available


def _advice(
    config: TrainConfig, need: MemoryEstimate, available: int, on_processor: bool, devices: int
) -> str:
    """Return the largest power of two that fits as batch or, if none does, other ways out."""
    if on_processor and need.total(1) <= available:
        largest = (available - need.images - need.weights) // max(1, need.per_image)
        fitting = devices * (1 << largest.bit_length() - 1)
        return f"Use --batch-size {fitting}, or a smaller --input-size."
    usual = find_network(config.network).input_size
    if config.input_size > usual:
        return f"Use a smaller --input-size; {config.network} has {usual} by default."
    return "Use a machine with more memory, or fewer images."


def _saved_bytes(model: nn.Module, images: int, size: int) -> int:
    """Return the bytes that a forward pass keeps for the backward pass, weights included."""
    total = 0
    seen: set[int] = set()
    kept: list[torch.Tensor] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal total
        # The output of a layer is also the saved input of the next one.
        storage = tensor.untyped_storage()
        if storage._cdata not in seen:
            seen.add(storage._cdata)
            kept.append(tensor)
            total += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(torch.empty((images, 3, size, size), device="meta"))
    return total


def _largest_output(model: nn.Module, size: int) -> int:
    """Return the bytes of the largest output of a layer and of its input, per image."""
    largest = 3 * size**2 * _FLOAT_BYTES

    def note(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal largest
        if isinstance(output, torch.Tensor):
            largest = max(largest, output.nbytes // 2)

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    with torch.no_grad():
        model(torch.empty((2, 3, size, size), device="meta"))
    for hook in hooks:
        hook.remove()
    return largest


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f}"
