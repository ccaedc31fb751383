"""Largest distance of a familiar image, and the images too near to it for a reduced precision.

FP32's limit is a quantile of its distances of validation images. A reduced precision's is FP32's
times the median ratio of their distances: the ratio is certain to a few thousandths, whereas a
quantile of its own, which one or two images decide, would refuse other images than FP32 does.

Divide an image's distance by the limit, in either precision. A reduced precision refuses or answers
otherwise than FP32 only if one result is above 1 and the other is not, so only if its own is nearer
to 1 than the two are to each other. Validation images show how far apart they get, as they show
the leads of :mod:`cxredge.metrics.near_ties`. The guarantee is the same but for the median ratio,
which the same images determine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np

from cxredge.metrics.bootstrap import Bools
from cxredge.metrics.classification import Floats

Shift = Annotated[float, msgspec.Meta(ge=0, le=20)]
"""Difference of two logarithms of distances in a card; 20 is a factor of 485 million."""


@dataclass(frozen=True)
class DistanceLimit:
    """Limit of the distances of one precision.

    Attributes:
        max_distance: Largest distance of a familiar image.
        shift: Largest shift of a validation image: how far apart the logarithms of its distances in
            both precisions are, each divided by its limit. 0 for FP32.
    """

    max_distance: float
    shift: Shift = 0.0

    def refused(self, distances: Floats) -> Bools:
        """Return which images are unfamiliar, bool (N,), from distances (N,)."""
        found: Bools = distances.astype(np.float64) > self.max_distance
        return found

    def near(self, distances: Floats) -> Bools:
        """Return whose distance is within the largest shift of the limit, bool (N,)."""
        factor = math.exp(self.shift)
        wide = distances.astype(np.float64)
        found: Bools = (wide >= self.max_distance / factor) & (wide <= self.max_distance * factor)
        return found


def fit_limit(distances: Floats, share: float) -> DistanceLimit:
    """Return the smallest limit within which a share of the images lies.

    Args:
        distances: float (N,), FP32's distances of validation images.
        share: Share of them that is familiar.
    """
    rank = min(math.ceil(share * len(distances)), len(distances))
    return DistanceLimit(float(np.sort(distances)[max(rank, 1) - 1]))


def match_limit(limit: DistanceLimit, reference: Floats, distances: Floats) -> DistanceLimit:
    """Return the limit of a reduced precision at which it refuses what FP32 refuses.

    Args:
        limit: FP32's limit.
        reference: float (N,), FP32's distances of validation images.
        distances: float (N,), those of the precision for the same images.
    """
    measured = (reference > 0) & (distances > 0)
    if not measured.any():
        return limit
    ratios = np.log(distances[measured].astype(np.float64) / reference[measured])
    median = float(np.median(ratios))
    shift = float(np.abs(ratios - median).max())
    return DistanceLimit(limit.max_distance * math.exp(median), shift)
