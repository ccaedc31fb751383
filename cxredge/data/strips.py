"""Operations on single pixels, a few rows at a time: their intermediate values stay small."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

PIXELS = 4_000_000
"""Number of pixels per strip, at least one row."""


def grey_in_strips(
    image: Image.Image, to_grey: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """Return the grey of an image, in mode L; a strip that has the whole image is not copied.

    Args:
        image: The image.
        to_grey: Returns the grey of a strip, in mode L; every pixel depends on its own value only.
    """
    width, height = image.size
    if width * height <= PIXELS:
        return to_grey(image)
    grey = Image.new("L", image.size)
    for top, bottom in _rows(height, width):
        grey.paste(to_grey(image.crop((0, top, width, bottom))), (0, top))
    return grey


def look_up(table: npt.NDArray[np.uint8], index: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return the entry of a table for every pixel; NumPy indexes with 8 bytes per pixel."""
    found = np.empty(index.shape, np.uint8)
    for top, bottom in _rows(index.shape[0], index[:1].size):
        found[top:bottom] = table[index[top:bottom]]
    return found


def _rows(height: int, width: int) -> Iterator[tuple[int, int]]:
    step = max(1, PIXELS // max(1, width))
    return ((top, min(top + step, height)) for top in range(0, height, step))
