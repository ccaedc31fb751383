"""Maps on an X-ray: coloured and blended."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cxredge.data.images import GreyImage
from cxredge.heatmaps.colours import Rgb, colours

Map = npt.NDArray[np.float32]

_OPACITY = 0.62
_FADE = 0.15
"""Share of the scale over which the opacity rises from 0: weak evidence hides nothing."""
_STEPS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_SMALLEST_LIMIT = 0.01


def upper_end(largest: float) -> float:
    """Return the upper end of a scale from 0 that holds a value: the next round number."""
    if not largest > _SMALLEST_LIMIT:
        return _SMALLEST_LIMIT
    power = 10.0 ** math.floor(math.log10(largest))
    return next(power * step for step in _STEPS if largest <= power * step * (1 + 1e-9))


def blend(picture: GreyImage, values: Map, limit: float) -> Rgb:
    """Return a picture with a map on it.

    Args:
        picture: uint8 (H, W).
        values: float32 (H, W), evidence in logit units; no colour at 0 or below.
        limit: Evidence of the last colour.

    Returns:
        uint8 (H, W, 3).
    """
    share = np.clip(values / limit, 0.0, 1.0)
    opacity = (_OPACITY * np.minimum(share / _FADE, 1.0))[..., None]
    colour = colours()[np.round(share * (len(colours()) - 1)).astype(np.intp)]
    mixed = (1 - opacity) * picture[..., None] + opacity * colour
    found: Rgb = np.round(mixed).astype(np.uint8)
    return found
