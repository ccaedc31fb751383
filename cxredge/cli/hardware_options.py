"""The options of ``cxredge train`` that choose the hardware to train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from cxredge.vocabulary import Accelerator, TrainingPrecision

if TYPE_CHECKING:
    from cxredge.training.config import TrainingHardware
    from cxredge.training.launch import Launched


@dataclass(frozen=True)
class HardwareOptions:
    """Hardware to train on."""

    accelerator: Annotated[
        Accelerator, typer.Option("--accelerator", help="Kind of processor to train on.")
    ] = Accelerator.AUTO
    devices: Annotated[
        int | None,
        typer.Option(
            "--devices",
            min=1,
            max=64,
            help="Number of devices per node, a process each. [default: torchrun's, else 1]",
        ),
    ] = None
    nodes: Annotated[
        int | None,
        typer.Option(
            "--nodes",
            min=1,
            help="Number of nodes; several require torchrun on each. [default: torchrun's, else 1]",
        ),
    ] = None
    timeout_minutes: Annotated[
        float,
        typer.Option(
            "--timeout-minutes",
            min=0.01,
            max=1440,
            help="Maximum time that the process of a device waits for the others, in minutes.",
        ),
    ] = 10.0
    precision: Annotated[
        TrainingPrecision, typer.Option("--precision", help="Number format in training.")
    ] = TrainingPrecision.FP32

    def hardware(self, cache_limit_gb: float, launched: Launched | None) -> TrainingHardware:
        """Return the hardware of the stage."""
        from cxredge.training.config import TrainingHardware
        from cxredge.training.launch import resolve_devices

        per_node, nodes = resolve_devices(self.devices, self.nodes, launched)
        return TrainingHardware(
            self.accelerator.value,
            per_node * nodes,
            self.precision,
            cache_limit_gb,
            nodes,
            self.timeout_minutes,
        )
