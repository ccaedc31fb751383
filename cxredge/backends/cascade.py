"""A fast session, and FP32 for its near ties.

An image is a near tie if its two best classes, or its distance and the limit of familiar images,
are so close together that the fast session may decide otherwise than FP32.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cxredge.backends.base import CascadeCounts, Outputs, Session
from cxredge.data.images import GreyImage
from cxredge.metrics.bootstrap import Bools
from cxredge.metrics.distance_limit import DistanceLimit
from cxredge.metrics.near_ties import are_near


class CascadeSession(Session):
    """Infers all images in one session, and its near ties again in a second one.

    Args:
        first: Infers every image.
        second: FP32; infers the near ties alone, and its logits replace the first session's.
        margin: First logit minus second up to which an image is a near tie.
        limit: The first session's limit of distances; None if it has none.

    Attributes:
        spec: Of the first session; concurrent if both are.
    """

    def __init__(
        self, first: Session, second: Session, margin: float, limit: DistanceLimit | None = None
    ) -> None:
        self._first, self._second, self._margin, self._limit = first, second, margin, limit
        concurrent = first.spec.concurrent and second.spec.concurrent
        self.spec = replace(first.spec, concurrent=concurrent)
        self._images = self._near = 0
        self._counting = threading.Lock()

    def run(self, images: GreyImage) -> Outputs:
        """Return outputs, and which of the images were near ties that FP32 decided."""
        found = self._first.run(images)
        near = near_ties_of(found, self._margin, self._limit)
        if near.any():
            _replace(found, near, self._second.run(images[near]))
        with self._counting:
            self._images += len(images)
            self._near += int(near.sum())
        return replace(found, decided_by_fp32=near)

    @property
    def primary(self) -> Session:
        """The session that infers every image."""
        return self._first

    @property
    def cascade(self) -> CascadeCounts:
        """Number of images and near ties so far."""
        with self._counting:
            return CascadeCounts(self._margin, self._images, self._near)

    def close(self) -> None:
        """Close both sessions, the second one first."""
        with ExitStack() as closing:
            closing.callback(self._first.close)
            closing.callback(self._second.close)


def near_ties_of(outputs: Outputs, margin: float, limit: DistanceLimit | None) -> Bools:
    """Return which images are near ties, bool (N,).

    Args:
        outputs: Outputs of the fast session.
        margin: First logit minus second up to which an image is a near tie.
        limit: The session's limit of distances; None if it has none.
    """
    near = are_near(outputs.logits, margin)
    if limit is not None and outputs.distances is not None:
        near |= limit.near(outputs.distances)
    return near


def _replace(outputs: Outputs, chosen: npt.NDArray[np.bool_], others: Outputs) -> None:
    """Replace the outputs of the chosen images, in place."""
    outputs.logits[chosen] = others.logits
    if outputs.distances is not None:
        outputs.distances[chosen] = others.distances
    if outputs.maps is not None:
        outputs.maps[chosen] = others.maps
