"""A fingerprint of what an X-ray shows, and the pairs of a set that show the same.

The sign of each coefficient of a discrete cosine transform survives scaling, JPEG and changes of
brightness and contrast (the idea of pHash: Zauner 2010, "Implementation and benchmarking of
perceptual image hash functions"). Chest X-rays all look alike at the coarsest scales, so that the
usual 64 bits cannot tell two patients apart: here the 28 lowest frequencies are left out and 548
bits kept.

Measured on the 6,251 different files of the Cohen and Kermany collections:

- 19.5 million pairs of images of different patients differ in 269 bits on average. A quadratic fit
  of the logarithm of the lower tail expects 0.1 false pairs among all of them up to 110 bits, 0.2
  up to :data:`SAME_XRAY` = 116 (1e-8 of the pairs) and 0.6 up to 125. Six pairs lie below 116 and
  are one X-ray under two patient numbers by eye; the nearest two X-rays of different children
  differ in 120 bits. As negatives or mirror images no two come nearer than 157.
- Two images of one patient: 2 of 4,780 pairs are below 116, both the same X-ray in two files.
- 400 copies of each kind, made of real images, were found so often: re-encoded (JPEG quality 30
  and 75), halved, squeezed to 128x128, brightness or contrast times 0.7 and 1.3, gamma 0.7 and
  1.5, negative, mirrored, cut by 1% at each side, turned by 1 degree: all. Histogram equalised:
  97%. A white label over 1% of the image: 78%. Cut by 3% at each side or turned by 3 degrees: 1%.
  An X-ray that is in the Cohen collection once more with "day 1" written on it is missed (126).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxredge.data.images import GreyImage

SAME_XRAY = 116
"""At most so many of the 548 bits differ between two files of one X-ray."""

HASH_SIDE = 128
"""Height and width in pixels of the images that are hashed."""

Hashes = npt.NDArray[np.uint8]

_FREQUENCIES = 24
_COARSEST = 6
_FLAT = 1.0
_BLOCK = 1024

_ROW, _COLUMN = np.divmod(np.arange(_FREQUENCIES**2), _FREQUENCIES)
_KEPT = _ROW + _COLUMN > _COARSEST
BITS = int(_KEPT.sum())
_MIRRORED = np.where(_COLUMN[_KEPT] % 2, -1, 1).astype(np.float32)
# Rows of the DCT-II, without its scale: only signs are kept.
_COSINES = np.cos(
    np.pi * np.arange(_FREQUENCIES)[:, None] * (np.arange(HASH_SIDE) + 0.5) / HASH_SIDE
).astype(np.float32)


@dataclass(frozen=True)
class NearPairs:
    """Pairs of images that show one X-ray.

    Attributes:
        first: int64 (P,), the image that comes first.
        second: int64 (P,), the other; always the larger index.
        distance: int64 (P,), bits that differ, 0 to ``SAME_XRAY``.
        changed: bool (P,), whether they match as negative or mirror image only.
    """

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    distance: npt.NDArray[np.int64]
    changed: npt.NDArray[np.bool_]


def perceptual_hash(pixels: GreyImage) -> Hashes:
    """Return the fingerprint of one image.

    Args:
        pixels: uint8, shape (128, 128).

    Returns:
        uint8, shape (69,): 548 packed bits, and one that is unset when the image is a flat area,
        which resembles nothing.
    """
    values = pixels.astype(np.float32)
    coefficients = (_COSINES @ values @ _COSINES.T).ravel()[_KEPT]
    return np.packbits(np.append(coefficients > 0, values.std() >= _FLAT))


def near_pairs(hashes: Hashes) -> Iterator[NearPairs]:
    """Yield the pairs of one X-ray, block by block, so that memory does not grow with their number.

    Two fingerprints as rows of +1 and -1 have the product (bits - 2 * distance): a matrix product
    gives all Hamming distances of a block at once, exactly, since float32 holds integers to 2^24.

    Args:
        hashes: uint8 (N, 69), rows of :func:`perceptual_hash`.
    """
    for top in range(0, len(hashes), _BLOCK):
        rows = _signs(hashes[top : top + _BLOCK])
        for left in range(top, len(hashes), _BLOCK):
            columns = _signs(hashes[left : left + _BLOCK])
            alike, mirrored = rows @ columns.T, rows @ (columns * _MIRRORED).T
            # A negative differs in every bit: its product is the opposite.
            product = np.maximum(np.abs(alike), np.abs(mirrored))
            near = product >= BITS - 2 * SAME_XRAY
            if left == top:
                near = np.triu(near, 1)
            row, column = np.nonzero(near)
            distance = ((BITS - product[row, column]) / 2).astype(np.int64)
            changed = alike[row, column] < product[row, column]
            yield NearPairs(row + top, column + left, distance, changed)


def _signs(hashes: Hashes) -> npt.NDArray[np.float32]:
    """Return fingerprints as float32 (N, 548) of +1 and -1; rows of 0 for flat images."""
    bits = np.unpackbits(hashes, axis=1, count=BITS + 1).astype(np.float32)
    return (2 * bits[:, :BITS] - 1) * bits[:, BITS:]
