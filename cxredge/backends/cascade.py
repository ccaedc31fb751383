"""A fast session whose near ties a second one decides."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from cxredge.backends.base import Logits, Session
from cxredge.data.images import GreyImage
from cxredge.metrics.near_ties import are_near


class CascadeSession:
    """Infers in the first session, and again in the second what is a near tie in the first.

    Args:
        first: Sees every image.
        second: FP32; sees the near ties alone, and its logits count for these.
        margin: First logit minus second up to which an image is a near tie.

    Attributes:
        first: See above.
        spec: The first session's.
        margin: See above.
    """

    def __init__(self, first: Session, second: Session, margin: float) -> None:
        self.first, self.margin = first, margin
        self._second = second
        concurrent = first.spec.concurrent and second.spec.concurrent
        self.spec = replace(first.spec, concurrent=concurrent)
        self._images = self._near = 0
        self._counting = threading.Lock()

    def infer(self, images: GreyImage) -> Logits:
        """Return float32 logits (N, classes) of uint8 images (N, size, size)."""
        return self.infer_marked(images)[0]

    def infer_marked(self, images: GreyImage) -> tuple[Logits, npt.NDArray[np.bool_]]:
        """Return logits, and of each image whether it was a near tie, bool (N,)."""
        logits = self.first.infer(images)
        near = are_near(logits, self.margin)
        if near.any():
            logits[near] = self._second.infer(images[near])
        with self._counting:
            self._images += len(images)
            self._near += int(near.sum())
        return logits, near

    def to_json(self) -> dict[str, Any]:
        """Return the margin and how many of the images so far were near ties, as JSON values."""
        return {"margin": self.margin, "images": self._images, "near": self._near}

    def __enter__(self) -> CascadeSession:
        """Return the session."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Free both."""
        with ExitStack() as closing:
            closing.push(self.first)
            closing.push(self._second)


def infer_marked(session: Session, images: GreyImage) -> tuple[Logits, npt.NDArray[np.bool_]]:
    """Return a session's logits, and of each image whether it was a near tie that FP32 decided."""
    if isinstance(session, CascadeSession):
        return session.infer_marked(images)
    return session.infer(images), np.zeros(len(images), np.bool_)


def first_of(session: Session) -> Session:
    """Return the session that sees every image: a cascade's first, any other itself."""
    return session.first if isinstance(session, CascadeSession) else session


def cascade_of(session: Session) -> dict[str, Any] | None:
    """Return a cascade's margin and counts as JSON values; None of any other session."""
    return session.to_json() if isinstance(session, CascadeSession) else None
