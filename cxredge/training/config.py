"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass

from cxredge.artifacts.run_config import SearchConfig, TrainConfig, TrainedOn

__all__ = ["SEARCH", "SearchConfig", "TrainConfig", "TrainingHardware"]

SEARCH = "search"
"""Value of ``freeze`` that selects the freeze point by a search."""


@dataclass(frozen=True)
class TrainingHardware(TrainedOn):
    """Devices and precision, in Lightning Fabric's terms.

    Attributes:
        cache_limit_gb: Maximum size of cached features on disk, in gigabytes (1e9 bytes).
        nodes: Number of nodes, each with the same share of the devices.
        timeout_minutes: Maximum time that a process waits for the others of the training.
    """

    cache_limit_gb: float = 20.0
    nodes: int = 1
    timeout_minutes: float = 10.0

    @property
    def per_node(self) -> int:
        """Number of devices per node."""
        return self.devices // self.nodes
