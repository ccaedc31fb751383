"""Features of each X-ray for a data audit: perceptual hash, border pixels, grey statistics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxredge.data.images import GreyImage, load_grey, load_xray
from cxredge.data.manifest import Entry
from cxredge.data.perceptual_hash import HASH_SIDE, Hashes, perceptual_hash
from cxredge.data.sources import sha256_of_source
from cxredge.errors import ImageError

Features = npt.NDArray[np.float32]

BORDER_SIDE = 32
BORDER_WIDTH = 2

_INSIDE = slice(BORDER_WIDTH, BORDER_SIDE - BORDER_WIDTH)
_BORDER = np.ones((BORDER_SIDE, BORDER_SIDE), dtype=bool)
_BORDER[_INSIDE, _INSIDE] = False
_PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
_BINS = 16


@dataclass(frozen=True)
class Appearance:
    """Features of the images of a set.

    Attributes:
        entries: The M readable images, in their order.
        hashes: uint8 (M, 69), rows of :func:`perceptual_hash`.
        border: float32 (M, 240), rows of :func:`border_of`.
        statistics: float32 (M, 30), rows of :func:`statistics_of`.
        unusable: Number of images left out, by reason: the values of ``ImageProblem``, and
            ``changed``.
    """

    entries: tuple[Entry, ...]
    hashes: Hashes
    border: Features
    statistics: Features
    unusable: Counter[str]


def extract_appearance(
    entries: Sequence[Entry], on_image: Callable[[], None] = lambda: None
) -> Appearance:
    """Decode every image once and keep only its features."""

    def extract(entry: Entry) -> tuple[Hashes, Features, Features] | str:
        try:
            pixels = load_xray(entry.path, HASH_SIDE).pixels
            if entry.sha256 and sha256_of_source(entry.path) != entry.sha256:
                return "changed"
            return perceptual_hash(pixels), border_of(pixels), statistics_of(pixels)
        except ImageError as error:
            return error.problem.value
        finally:
            on_image()

    kept, features = [], []
    unusable: Counter[str] = Counter()
    with ThreadPoolExecutor() as pool:
        for entry, outcome in zip(entries, pool.map(extract, entries), strict=True):
            if isinstance(outcome, str):
                unusable[outcome] += 1
            else:
                kept.append(entry)
                features.append(outcome)
    # The extra row, dropped below, sets the widths of the arrays if no image is usable.
    columns = zip(*features, _features_of_black(), strict=True)
    hashes, border, statistics = (np.stack(column)[:-1] for column in columns)
    return Appearance(tuple(kept), hashes, border, statistics, unusable)


def hash_images(entries: Sequence[Entry], on_image: Callable[[], None] = lambda: None) -> Hashes:
    """Return the perceptual hashes of readable images; uint8 (N, 69).

    Raises:
        ImageError: An image cannot be read.
    """

    def hash_one(entry: Entry) -> Hashes:
        found = perceptual_hash(load_grey(entry.path, HASH_SIDE))
        on_image()
        return found

    with ThreadPoolExecutor() as pool:
        return np.stack([*pool.map(hash_one, entries), _features_of_black()[0]])[:-1]


def border_of(pixels: GreyImage) -> Features:
    """Return the outer 2 of 32x32 pixels, which show no lung: float32 (240,), 0 to 255.

    Args:
        pixels: uint8 (128, 128).
    """
    cell = HASH_SIDE // BORDER_SIDE
    small = pixels.reshape(BORDER_SIDE, cell, BORDER_SIDE, cell).mean(axis=(1, 3))
    border: Features = small[_BORDER].astype(np.float32)
    return border


def statistics_of(pixels: GreyImage) -> Features:
    """Return statistics of the grey values that do not depend on position: float32 (30,).

    A histogram of 16 bins (shares), mean, standard deviation, skewness, kurtosis, 7 percentiles,
    and three measures of roughness: the mean absolute difference of horizontal neighbours, of
    vertical neighbours, and of a pixel and its four neighbours.

    Args:
        pixels: uint8 (128, 128).
    """
    values = pixels.astype(np.float32)
    mean, deviation = values.mean(), values.std()
    scaled = (values - mean) / max(deviation, 1e-6)
    centre = 4 * values[1:-1, 1:-1]
    around = values[:-2, 1:-1] + values[2:, 1:-1] + values[1:-1, :-2] + values[1:-1, 2:]
    found = [
        *np.bincount(pixels.ravel() // (256 // _BINS), minlength=_BINS) / pixels.size,
        mean,
        deviation,
        (scaled**3).mean(),
        (scaled**4).mean(),
        *np.percentile(values, _PERCENTILES),
        np.abs(np.diff(values, axis=1)).mean(),
        np.abs(np.diff(values, axis=0)).mean(),
        np.abs(centre - around).mean(),
    ]
    return np.array(found, dtype=np.float32)


def _features_of_black() -> tuple[Hashes, Features, Features]:
    black = np.zeros((HASH_SIDE, HASH_SIDE), dtype=np.uint8)
    return perceptual_hash(black), border_of(black), statistics_of(black)
