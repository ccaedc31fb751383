"""What every runtime offers."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cxredge.data.images import GreyImage

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SessionSpec:
    """What a session takes and gives: uint8 (N, 1, size, size) in, float32 (N, classes) out."""

    size: int
    classes: int
    backend: str
    threads: int


class Session(Protocol):
    """A loaded network. Not shared between threads; a context manager frees what it holds."""

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
