"""Operating point: the limits at which a precision answers, derived on validation images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cxredge.artifacts.records import NonNegative, Share, Threshold
from cxredge.backends.base import Distances
from cxredge.metrics.bootstrap import Bools


@dataclass(frozen=True)
class OperatingPoint:
    """Limits of one precision in one runtime.

    Attributes:
        thresholds: Operating threshold of the probability, by class.
        max_distance: Largest distance of a familiar image; None if the network returns no distance.
        set_levels: Largest conformal score of a class in the prediction set, by class; empty if
            the bundle has no prediction sets. See :mod:`cxredge.metrics.conformal`.
    """

    thresholds: Mapping[str, Threshold]
    max_distance: NonNegative | None = None
    set_levels: Mapping[str, Share] = field(default_factory=dict)

    def refused(self, distances: Distances | None) -> Bools | None:
        """Return which images are unfamiliar, bool (N,); None if there is no limit.

        Args:
            distances: float32 (N,); None if the network returns none.
        """
        if distances is None or self.max_distance is None:
            return None
        found: Bools = distances.astype(np.float64) > self.max_distance
        return found
