"""What may be asked of TensorRT engines, wherever they are built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cxredge.errors import WrongUsage

_SHARE_OF_MEMORY = 4


@dataclass(frozen=True, kw_only=True)
class EngineRequest:
    """What may be asked of every engine of a bundle, where it is packed or where it is finished.

    Attributes:
        batches: Batch sizes that are to be fast, ascending. Each is the optimum of a profile that
            reaches from the size before it; the last is the largest that can be run. A profile
            can add to the file: with TensorRT for RTX 1.7, MobileNet V1 in INT8 takes 10.6 MB for
            one and 13.5 MB for two.
        workspace_mb: Most scratch memory a layer may take, in units of 10^6 bytes; None for
            TensorRT's default, all there is.
        optimization_level: 0 (quick build) to 5 (fast engine); None for TensorRT's default.
            TensorRT 8.5 has none.
        version_compatible: Whether newer TensorRT versions may load the engine, at some cost in
            speed.
    """

    batches: tuple[int, ...] = (1, 8)
    workspace_mb: int | None = None
    optimization_level: int | None = None
    version_compatible: bool = False

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.batches, self.batches[1:], strict=False))
        if not self.batches or self.batches[0] < 1 or not ascending:
            raise WrongUsage(
                f"Batch sizes {', '.join(map(str, self.batches))} are not ascending numbers from 1 "
                "on.",
                "Give, for example: --batch 1,8",
            )
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise WrongUsage(
                f"Optimization level {self.optimization_level} is not 0 to 5.",
                "0 builds quickly, 5 gives the fastest engine, 3 is TensorRT's own default.",
            )
        if self.workspace_mb is not None and self.workspace_mb < 1:
            raise WrongUsage(
                f"A workspace of {self.workspace_mb} MB is no memory at all.",
                "Leave --workspace-mb out for a quarter of the board's memory.",
            )

    def profiles(self) -> list[tuple[int, int, int]]:
        """Return the least, best and largest batch size of each profile."""
        starts = (1, *(size + 1 for size in self.batches[:-1]))
        return [(low, best, best) for low, best in zip(starts, self.batches, strict=True)]

    def to_json(self) -> dict[str, Any]:
        """Return what decides the engine as JSON values."""
        return {
            "batches": list(self.batches),
            "workspace_mb": self.workspace_mb,
            "optimization_level": self.optimization_level,
            "version_compatible": self.version_compatible,
        }


def read_request(values: Mapping[str, Any]) -> EngineRequest:
    """Return the request of a card, or of the options of a command: JSON values by name.

    Raises:
        WrongUsage: A value cannot be had.
    """
    batches = {"batches": tuple(values["batches"])} if "batches" in values else {}
    return EngineRequest(**{**values, **batches})


def workspace_for(memory_mb: int) -> int:
    """Return a workspace limit for a device of so much memory: a quarter.

    Boards share memory between GPU and system, and a builder that takes all of it is killed with
    its session; MobileNets need a few MB of workspace, so a quarter costs them nothing.
    """
    return max(1, memory_mb // _SHARE_OF_MEMORY)
