"""Whether a finished picture can be a chest X-ray, by its grey values alone.

The limits are far from those of X-rays. Of 6971 X-rays of three public collections, the extreme
values are 101 (95th percentile), 199 (5th percentile), 234 (median), 32 (between the 5th and 95th
percentiles) and 0.62 (correlation of neighbours), in grey values of 255.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from cxredge.errors import Caution, ImageError, ImageProblem

GRID = 32
"""Rows and columns of the cells whose mean grey values are judged: the same for every input size,
and too coarse for a label or a marker to matter."""

_BLACK, _WHITE = 24, 231
_WHITE_PAGE, _PAGE_INK, _PAGE_CORRELATION = 250, 192, 0.6
_MIN_SPREAD = 16
_MIN_CORRELATION = 0.45
_DARK, _BRIGHT = 96, 175
_NARROW = 96


@dataclass(frozen=True)
class GreyLevels:
    """Grey values of the cells of a picture.

    Attributes:
        low: 5th percentile.
        median: 50th percentile.
        high: 95th percentile.
        darkest: 1st percentile.
        brightest: 99th percentile.
        correlation: Mean correlation of neighbouring cells, -1 to 1; near 0 for noise.
    """

    low: float
    median: float
    high: float
    darkest: float
    brightest: float
    correlation: float


def check_plausible(
    name: str, pixels: npt.NDArray[np.uint8], unwindowed: bool = False
) -> tuple[Caution, ...]:
    """Refuse a picture that cannot be a chest X-ray.

    Args:
        name: Name of the image in messages.
        pixels: uint8 (height, width), 0 is black.
        unwindowed: Whether values of more than 8 bits were scaled by their depth alone, so that
            they may have fewer bits than the file states.

    Returns:
        Reasons to doubt a prediction.

    Raises:
        ImageError: The picture is one grey value, almost black, almost white or noise.
    """
    levels = measure_levels(pixels)
    flaw = _flaw_of(levels)
    if flaw and unwindowed and levels.high - levels.low < _BLACK:
        raise ImageError(
            ImageProblem.NOT_SCALED,
            f"{name} is {flaw}; its values of more than 8 bits are not scaled to their full range.",
            "Scale its values to 16 bits, or export it with a window or as 8-bit PNG.",
        )
    if flaw:
        raise ImageError(
            ImageProblem.IMPLAUSIBLE,
            f"{name} is {flaw}; expected a chest X-ray.",
            "Look at the picture, and export it again or leave it out.",
        )
    if levels.median > _WHITE_PAGE:
        return (Caution.MOSTLY_WHITE,)
    narrow = unwindowed and levels.brightest - levels.darkest < _NARROW
    if narrow or levels.brightest < _DARK or levels.darkest > _BRIGHT:
        return (Caution.NARROW_RANGE,)
    return ()


def measure_levels(pixels: npt.NDArray[np.uint8]) -> GreyLevels:
    """Measure the grey values of a picture, uint8 (height, width)."""
    small = Image.fromarray(pixels).resize((GRID, GRID), Image.Resampling.BOX)
    cells = np.asarray(small).astype(np.float64)
    darkest, low, median, high, brightest = np.percentile(cells, [1, 5, 50, 95, 99])
    return GreyLevels(
        float(low),
        float(median),
        float(high),
        float(darkest),
        float(brightest),
        _correlation(cells),
    )


def _correlation(cells: npt.NDArray[np.float64]) -> float:
    """Return the mean correlation of horizontal and vertical neighbours; 1 for a flat picture."""
    deviation = cells - cells.mean()
    variance = (deviation**2).mean()
    if variance == 0:
        return 1.0
    across = (deviation[:, 1:] * deviation[:, :-1]).mean()
    down = (deviation[1:] * deviation[:-1]).mean()
    return float((across + down) / (2 * variance))


def _flaw_of(levels: GreyLevels) -> str:
    """Return what is wrong with a picture, or nothing."""
    if levels.high < _BLACK:
        return "almost black" if levels.high else "black"
    is_page = levels.low > _PAGE_INK or levels.correlation < _PAGE_CORRELATION
    if levels.low > _WHITE or (levels.median > _WHITE_PAGE and is_page):
        return "almost white"
    if levels.high - levels.low < _MIN_SPREAD:
        return f"almost one grey value ({levels.median:.0f} of 255)"
    if levels.correlation < _MIN_CORRELATION:
        return "noise: neighbouring regions have unrelated grey values"
    return ""
