"""Options of TensorRT engines that do not depend on the machine that builds them."""

from __future__ import annotations

from dataclasses import dataclass

from cxredge.errors import WrongUsage

_WORKSPACE_FRACTION = 4


@dataclass(frozen=True, kw_only=True)
class EngineRequest:
    """Options of every engine of a bundle, set when it is packed or on the device.

    Attributes:
        batches: Batch sizes to optimize for, ascending. Each is the optimum of an optimization
            profile that starts after the previous one; the last is the largest that can be run.
            More profiles can enlarge the file: with TensorRT for RTX 1.7, MobileNet V1 in INT8 has
            10.6 MB with one and 13.5 MB with two.
        workspace_mb: Maximum scratch memory of a layer, in MB (10^6 bytes); None for TensorRT's
            default, all of the GPU's memory.
        optimization_level: 0 (fast build) to 5 (fast engine); None for TensorRT's default.
            TensorRT 8.5 has no levels.
        version_compatible: Whether newer TensorRT versions can load the engine, which costs some
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
                f"Batch sizes {', '.join(map(str, self.batches))} are not ascending numbers of at "
                "least 1.",
                "For example: --batch 1,8",
            )
        if self.optimization_level is not None and not 0 <= self.optimization_level <= 5:
            raise WrongUsage(
                f"Optimization level {self.optimization_level} is not 0 to 5.",
                "0 builds fast, 5 makes the fastest engine, 3 is TensorRT's default.",
            )
        if self.workspace_mb is not None and self.workspace_mb < 1:
            raise WrongUsage(
                f"A workspace of {self.workspace_mb} MB is not positive.",
                "Omit --workspace-mb for a quarter of the board's memory.",
            )

    def profiles(self) -> list[tuple[int, int, int]]:
        """Return the smallest, optimal and largest batch size of each optimization profile."""
        starts = (1, *(size + 1 for size in self.batches[:-1]))
        return [(low, best, best) for low, best in zip(starts, self.batches, strict=True)]


def workspace_for(memory_mb: int) -> int:
    """Return the workspace limit for a device: a quarter of its memory.

    On boards, GPU and system share the memory, and a builder that uses all of it is killed with its
    session. MobileNets need a few MB of workspace, so the limit does not slow them down.
    """
    return max(1, memory_mb // _WORKSPACE_FRACTION)
