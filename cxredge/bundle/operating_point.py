"""Operating point: the limits at which a precision answers, derived on validation images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cxredge.artifacts.records import NonNegative, Share, Threshold


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
