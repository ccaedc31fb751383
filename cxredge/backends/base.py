"""What every runtime offers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from cxredge.data.images import GreyImage

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SessionSpec:
    """What a session takes and gives: uint8 (N, 1, size, size) in, float32 (N, classes) out.

    Attributes:
        size: Height and width of an image in pixels.
        classes: Logits of an image.
        backend: Name of the runtime.
        threads: Threads of one inference.
        concurrent: Whether several threads may call ``infer`` at a time. With one thread an
            inference, that serves a folder faster than several threads an inference.
        batch: Images an inference when there are many.
    """

    size: int
    classes: int
    backend: str
    threads: int
    concurrent: bool = False
    batch: int = 16


class Session(Protocol):
    """A loaded network, of one thread unless ``spec.concurrent``; as a context manager freed."""

    @property
    def spec(self) -> SessionSpec:
        """What the session takes and gives."""
        ...

    def infer(self, images: GreyImage) -> Logits:
        """Return float32 logits (N, classes) of uint8 images (N, size, size), N at least 1."""
        ...

    def __enter__(self) -> Session:
        """Return the session."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free memory and device."""
        ...


@runtime_checkable
class AcceleratorSession(Session, Protocol):
    """A session on a device that images are copied to and logits from."""

    def infer_in_stages(self, images: GreyImage) -> tuple[Logits, dict[str, float]]:
        """Return logits and milliseconds of ``host_to_device``, ``compute``, ``device_to_host``.

        Slower than ``infer``: what hides the stages is left out.
        """
        ...

    def circumstances(self) -> dict[str, Any]:
        """Return what a benchmark should say of how the engine ran, as JSON values."""
        ...


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
