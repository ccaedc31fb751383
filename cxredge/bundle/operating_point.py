"""Operating point: the limits at which a precision answers, derived on validation images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cxredge.artifacts.records import NonNegative, Share, Threshold
from cxredge.backends.base import Distances
from cxredge.metrics.bootstrap import Bools
from cxredge.metrics.distance_limit import DistanceLimit, Shift


@dataclass(frozen=True)
class OperatingPoint:
    """Limits of one precision in one runtime.

    Attributes:
        thresholds: Operating threshold of the probability, by class.
        max_distance: Largest distance of a familiar image; None if the network returns no distance.
        set_levels: Largest conformal score of a class in the prediction set, by class; empty if
            the bundle has no prediction sets. See :mod:`cxredge.metrics.conformal`.
        distance_shift: Shift of the distances, see :mod:`cxredge.metrics.distance_limit`; 0 for
            FP32, and on cards of earlier versions.
    """

    thresholds: Mapping[str, Threshold]
    max_distance: NonNegative | None = None
    set_levels: Mapping[str, Share] = field(default_factory=dict)
    distance_shift: Shift = 0.0

    @property
    def distance_limit(self) -> DistanceLimit | None:
        """The limit of the distance; None if there is none."""
        if self.max_distance is None:
            return None
        return DistanceLimit(self.max_distance, self.distance_shift)

    def refused(self, distances: Distances | None) -> Bools | None:
        """Return which images are unfamiliar, bool (N,); None if there is no limit.

        Args:
            distances: float32 (N,); None if the network returns none.
        """
        limit = self.distance_limit
        return None if distances is None or limit is None else limit.refused(distances)
