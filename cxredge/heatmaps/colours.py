"""Perceptually uniform colours of a heatmap, from dark violet over red and orange to light yellow.

The colours lie on a path of rising lightness in OKLab (Ottosson 2020, "A perceptual color space for
image processing"), at equal distances, so that equal differences of evidence look equal.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]

_STEPS = 256
_PATH = (
    (0.30, 0.13, 290),
    (0.44, 0.19, 325),
    (0.60, 0.20, 380),
    (0.76, 0.15, 425),
    (0.94, 0.13, 462),
)
"""Lightness, chroma and hue in degrees of points of the path; hues continue beyond 360."""
_TO_LMS = np.array(
    [
        [1, 0.3963377774, 0.2158037573],
        [1, -0.1055613458, -0.0638541728],
        [1, -0.0894841775, -1.2914855480],
    ]
)
_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@cache
def colours() -> Rgb:
    """Return the table of colours, uint8 (256, 3), read-only."""
    dense = np.linspace(0, len(_PATH) - 1, 40 * _STEPS)
    points = np.array(_PATH)
    lightness, chroma, hue = (np.interp(dense, range(len(_PATH)), one) for one in points.T)
    angle = np.deg2rad(hue)
    path = np.stack([lightness, chroma * np.cos(angle), chroma * np.sin(angle)], axis=1)
    length = np.append(0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1)))
    even = np.linspace(0, length[-1], _STEPS)
    table = _to_srgb(np.stack([np.interp(even, length, one) for one in path.T], axis=1))
    table.flags.writeable = False
    return table


def _to_srgb(oklab: npt.NDArray[np.float64]) -> Rgb:
    """Return colours of OKLab, float (N, 3), as sRGB, uint8 (N, 3)."""
    linear = np.clip((oklab @ _TO_LMS.T) ** 3 @ _TO_RGB.T, 0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    found: Rgb = np.round(255 * curved).astype(np.uint8)
    return found
