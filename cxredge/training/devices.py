"""Devices to train on, and the memory that a training needs on them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from lightning_fabric import Fabric

from cxredge.errors import CxredgeError, DependencyError
from cxredge.training.config import TrainingHardware
from cxredge.vocabulary import Accelerator

_ON_THE_PROCESSOR = "Train on the processor: --accelerator cpu."
_MAX_PROCESSES = 64


def open_devices(hardware: TrainingHardware) -> Fabric:
    """Return the launched devices.

    Raises:
        DependencyError: This machine has no such device.
        CxredgeError: It has fewer than requested.
    """
    require_devices(hardware)
    fabric = Fabric(
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        precision=hardware.precision.value,
    )
    fabric.launch()
    return fabric


def require_devices(hardware: TrainingHardware) -> bool:
    """Check that this machine has the requested devices.

    Returns:
        Whether the network is trained on the processor.

    Raises:
        DependencyError: It has no such device, or the accelerator is not known.
        CxredgeError: It has fewer than requested.
    """
    known = {one.value: one for one in Accelerator}
    accelerator = known.get(hardware.accelerator)
    if accelerator is Accelerator.AUTO:
        # The order of Fabric's "auto".
        order = (Accelerator.MPS, Accelerator.CUDA, Accelerator.CPU)
        accelerator = next(one for one in order if _COUNTS[one]())
    if accelerator is None:
        raise CxredgeError(
            f"Unknown accelerator '{hardware.accelerator}'. Known: {', '.join(known)}.",
            _ON_THE_PROCESSOR,
        )
    count = _COUNTS[accelerator]()
    if count == 0:
        built = " and is built without CUDA" if torch.version.cuda is None else ""
        raise DependencyError(
            f"--accelerator {accelerator.value}: torch {torch.__version__} finds no such device on "
            f"this machine{built if accelerator is Accelerator.CUDA else ''}.",
            f"{_ON_THE_PROCESSOR} 'cxredge doctor' shows what is missing for a GPU.",
        )
    if hardware.devices > count:
        raise CxredgeError(
            f"--devices {hardware.devices}: this machine has {count} for --accelerator "
            f"{accelerator.value}.",
            f"Use --devices {count}.",
        )
    return accelerator is Accelerator.CPU


_COUNTS: dict[Accelerator, Callable[[], int]] = {
    Accelerator.CPU: lambda: _MAX_PROCESSES,
    Accelerator.CUDA: torch.cuda.device_count,
    Accelerator.MPS: lambda: int(torch.backends.mps.is_available()),
}
