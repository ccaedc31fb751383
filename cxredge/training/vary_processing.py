"""Random processing of X-rays, as files of many sources differ in it.

Classes of public collections often come from one source each, and a network then learns what a
source does to its files: scaling, sharpening, JPEG quality, grey curve, borders, letters in the
corners. Each of these is drawn anew here for every view of an image, so that none of them tells a
class. The positions and the extent of the lungs are left as they are.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter, ImageOps

Pixels = npt.NDArray[np.uint8]
Step = Callable[[Pixels, np.random.Generator], Pixels]

_FILTERS = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
_STREAM = 1
"""Apart from the geometry of the same view, which is drawn from a generator of its own."""


def vary_processing(pixels: Pixels, seed: int, view: int, row: int) -> Pixels:
    """Process an image in a random way.

    Args:
        pixels: uint8 (height, width).
        seed: The run's seed, at least 0.
        view: Number of the view.
        row: Index of the image. The same seed, view and index give the same result.

    Returns:
        A new uint8 (height, width).
    """
    rng = np.random.default_rng((seed, view, row, _STREAM))
    varied = pixels
    for probability, step in _STEPS:
        if rng.random() < probability:
            varied = step(varied, rng)
    return varied.copy() if varied is pixels else varied


def _blur(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return _filtered(pixels, ImageFilter.GaussianBlur(rng.uniform(0.2, 1.6)))


def _sharpen(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return _filtered(pixels, ImageFilter.UnsharpMask(2, int(rng.integers(30, 200)), 0))


def _resample(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Scale the image down and up again, as archives do for thumbnails."""
    picture = Image.fromarray(pixels)
    share = rng.uniform(1 / 3, 1)
    small = (max(1, round(picture.width * share)), max(1, round(picture.height * share)))
    down = _FILTERS[rng.integers(len(_FILTERS))]
    return _array(picture.resize(small, down).resize(picture.size, Image.Resampling.BILINEAR))


def _bend(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Change the grey curve by a power between 0.55 and 1.8."""
    power = np.exp(rng.uniform(-0.6, 0.6))
    curve = 255 * (np.arange(256) / 255) ** power
    return _mapped(pixels, curve)


def _equalise(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Mix the image with its histogram-equalised version."""
    picture = Image.fromarray(pixels)
    return _array(Image.blend(picture, ImageOps.equalize(picture), rng.uniform(0.3, 1)))


def _window(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Move black and white, which cuts off grey values or leaves some unused."""
    black, white = rng.uniform(-38, 38), rng.uniform(217, 293)
    curve = black + np.arange(256) / 255 * (white - black)
    return _mapped(pixels, curve)


def _add_noise(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    noise = rng.normal(0, rng.uniform(1, 13), pixels.shape)
    found: Pixels = (pixels + noise).round().clip(0, 255).astype(np.uint8)
    return found


def _mask_borders(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Paint margins of up to a ninth of the side, mostly black."""
    height, width = pixels.shape
    top, bottom = rng.integers(0, height // 9 + 1, 2)
    left, right = rng.integers(0, width // 9 + 1, 2)
    grey = 255 if rng.random() < 0.15 else 0
    masked = np.full_like(pixels, grey)
    inside = np.s_[top : height - bottom, left : width - right]
    masked[inside] = pixels[inside]
    return masked


def _mask_corner(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Cover a corner, where letters and markers are, with a grey value or noise."""
    height, width = pixels.shape
    rows, columns = (int(rng.integers(side // 12, side // 4)) for side in (height, width))
    top, left = rng.integers(2) * (height - rows), rng.integers(2) * (width - columns)
    masked: Pixels = pixels.copy()
    flat = rng.random() < 0.5
    cover = rng.integers(0, 256, (1, 1) if flat else (rows, columns), dtype=np.uint8)
    masked[top : top + rows, left : left + columns] = cover
    return masked


def _compress(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Write and read a JPEG of quality 20 to 95."""
    with io.BytesIO() as stream:
        Image.fromarray(pixels).save(stream, "JPEG", quality=int(rng.integers(20, 96)))
        return _array(Image.open(stream))


def _mapped(pixels: Pixels, curve: npt.NDArray[np.float64]) -> Pixels:
    """Return the values of a curve, float64 (256,), at the grey values of an image."""
    found: Pixels = curve.round().clip(0, 255).astype(np.uint8)[pixels]
    return found


def _filtered(pixels: Pixels, kind: ImageFilter.Filter) -> Pixels:
    return _array(Image.fromarray(pixels).filter(kind))


def _array(picture: Image.Image) -> Pixels:
    found: Pixels = np.array(picture, dtype=np.uint8)
    return found


_STEPS: tuple[tuple[float, Step], ...] = (
    (0.5, _blur),
    (0.5, _resample),
    (0.3, _sharpen),
    (0.5, _bend),
    (0.25, _equalise),
    (0.5, _window),
    (0.5, _add_noise),
    (0.5, _mask_borders),
    (0.5, _mask_corner),
    (0.5, _mask_corner),
    (0.5, _compress),
)
"""Probability of each step, in the order in which a picture is made and kept."""
