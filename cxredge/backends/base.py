"""The interface that every runtime implements."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from cxredge.data.images import GreyImage
from cxredge.metrics.number_types import Count, NonNegative

if TYPE_CHECKING:
    from typing_extensions import Self

_Scalar = TypeVar("_Scalar", bound=np.generic)

Logits = npt.NDArray[np.float32]
Distances = npt.NDArray[np.float32]
"""float32 (N,): distance of each image from the training images, at least 0."""
Maps = npt.NDArray[np.float32]
"""float32 (N, classes, height, width): class activation maps; their mean over the picture is the
logit without the bias."""


@dataclass(frozen=True)
class SessionSpec:
    """Shapes and threading of a session: uint8 (N, 1, size, size) in, float32 (N, classes) out.

    Attributes:
        size: Height and width of an image in pixels.
        classes: Number of logits per image.
        backend: Name of the runtime.
        threads: Number of threads per inference.
        concurrent: Whether several threads may call ``infer`` at the same time. With one thread
            per inference, that serves a folder faster than several threads per inference.
        batch: Number of images per inference when there are many.
        has_distances: Whether the network also returns distances.
        map_sides: Height and width of its class activation maps; None if it returns none.
    """

    size: int
    classes: int
    backend: str
    threads: int
    concurrent: bool = False
    batch: int = 16
    has_distances: bool = False
    map_sides: tuple[int, int] | None = None


@dataclass(frozen=True)
class Outputs:
    """Outputs of a network for a batch.

    Attributes:
        logits: float32 (N, classes).
        distances: float32 (N,); None if the network returns none.
        maps: float32 (N, classes, height, width); None if the network returns none.
        decided_by_fp32: bool (N,): the near ties of a cascade, whose outputs are all FP32's; None
            without a cascade.
    """

    logits: Logits
    distances: Distances | None = None
    maps: Maps | None = None
    decided_by_fp32: npt.NDArray[np.bool_] | None = None

    @classmethod
    def joined(cls, parts: Sequence[Outputs]) -> Outputs:
        """Return the outputs of consecutive batches of one session as one."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.logits for part in parts]),
            _joined([part.distances for part in parts]),
            _joined([part.maps for part in parts]),
            _joined([part.decided_by_fp32 for part in parts]),
        )


def _joined(parts: Sequence[npt.NDArray[_Scalar] | None]) -> npt.NDArray[_Scalar] | None:
    """Return arrays as one; None if the session does not return them."""
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if present else None


@dataclass(frozen=True)
class CascadeCounts:
    """Number of near ties that FP32 decided in a session so far.

    Attributes:
        margin: First logit minus second up to which an image is a near tie.
        images: Number of images inferred.
        near: Number of near ties among them.
    """

    margin: NonNegative
    images: Count
    near: Count


@dataclass(frozen=True)
class EngineRun:
    """Circumstances in which a session on a GPU ran its engine.

    Attributes:
        tensorrt: Version of TensorRT.
        memory_library: Library that manages device memory.
        transfer: Transfer of images to the GPU.
        cuda_graphs: Whether recorded CUDA graphs were launched.
        cuda_graphs_refused: Reasons why they were not, for engines that cannot be recorded.
        device_memory_bytes: Device memory for activations.
    """

    tensorrt: str
    memory_library: str
    transfer: str
    cuda_graphs: bool
    cuda_graphs_refused: tuple[str, ...]
    device_memory_bytes: Count


@dataclass(frozen=True)
class LayerTime:
    """Time of one layer of an engine.

    Attributes:
        name: Name in TensorRT; fused layers have joined names.
        mean_ms: Mean over the runs. Layers are timed one by one, so their sum exceeds the latency
            of the engine.
    """

    name: str
    mean_ms: NonNegative


class Session(ABC):
    """A loaded network. Leaving its ``with`` block closes it.

    A session belongs to the thread that opened it, unless ``spec.concurrent`` is set.

    Attributes:
        spec: Shapes and threading.
    """

    spec: SessionSpec

    @abstractmethod
    def run(self, images: GreyImage) -> Outputs:
        """Return all outputs for uint8 images (N, size, size), N at least 1."""

    def infer(self, images: GreyImage) -> Logits:
        """Return float32 logits (N, classes) of uint8 images (N, size, size), N at least 1."""
        return self.run(images).logits

    @abstractmethod
    def close(self) -> None:
        """Free memory and device."""

    @property
    def primary(self) -> Session:
        """The session that infers every image: the first of a cascade, otherwise this one."""
        return self

    @property
    def cascade(self) -> CascadeCounts | None:
        """Counts of a cascade; None for a session without one."""
        return None

    def __enter__(self) -> Self:
        """Return the session."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the session."""
        self.close()


class AcceleratorSession(Session):
    """A session on a device with separate memory: images and logits are copied."""

    @abstractmethod
    def infer_in_stages(self, images: GreyImage) -> tuple[Logits, dict[str, float]]:
        """Return logits and milliseconds of ``host_to_device``, ``compute``, ``device_to_host``.

        Slower than ``infer``, because it does without what hides the stages.
        """

    @abstractmethod
    def circumstances(self) -> EngineRun:
        """Return how the engine ran."""


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
