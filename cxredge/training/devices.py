"""Devices to train on, and the memory that a training needs on them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from cxredge.errors import CxredgeError, DependencyError
from cxredge.training.config import TrainingHardware
from cxredge.training.launch import EXAMPLE, find_launched
from cxredge.vocabulary import Accelerator

_ON_THE_PROCESSOR = "Train on the processor: --accelerator cpu."
_MAX_PROCESSES = 64


def open_devices(hardware: TrainingHardware) -> Fabric:
    """Return the launched devices.

    Raises:
        DependencyError: This machine has no such device.
        CxredgeError: It has fewer than requested, or a launcher started another number of
            processes.
    """
    require_devices(hardware)
    fabric = Fabric(
        accelerator=hardware.accelerator,
        devices=hardware.per_node,
        num_nodes=hardware.nodes,
        precision=hardware.precision.value,
        **_processes(hardware),
    )
    fabric.launch()
    return fabric


def require_processes(hardware: TrainingHardware) -> None:
    """Check that there is a process per device.

    Raises:
        CxredgeError: A launcher started another number of processes, or none for several devices.
    """
    launched = find_launched()
    started = launched.size if launched else 1
    if started != hardware.devices:
        raise CxredgeError(
            f"A training on {hardware.devices} device{'s' if hardware.devices > 1 else ''} was "
            f"started as {started} process{'es' if started > 1 else ''}.",
            f"Start one process per device: {EXAMPLE}",
        )


def _processes(hardware: TrainingHardware) -> dict[str, Any]:
    """Return how Fabric finds the processes of a training.

    Fabric would guess it from variables of Slurm and others, also where they describe something
    else, and would train alone where they are missing.
    """
    if hardware.devices == 1:
        return {"plugins": LightningEnvironment()}
    return {
        "strategy": DDPStrategy(
            cluster_environment=TorchElasticEnvironment(),
            timeout=timedelta(minutes=hardware.timeout_minutes),
        )
    }


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
    if hardware.per_node > count:
        raise CxredgeError(
            f"--devices {hardware.per_node}: this machine has {count} for --accelerator "
            f"{accelerator.value}.",
            f"Use --devices {count}.",
        )
    return accelerator is Accelerator.CPU


_COUNTS: dict[Accelerator, Callable[[], int]] = {
    Accelerator.CPU: lambda: _MAX_PROCESSES,
    Accelerator.CUDA: torch.cuda.device_count,
    Accelerator.MPS: lambda: int(torch.backends.mps.is_available()),
}
