"""Perceptual hash of an X-ray, and the pairs of images that show the same X-ray.

The signs of the coefficients of a discrete cosine transform are robust against scaling, JPEG
compression and changes of brightness and contrast (the idea of pHash: Zauner 2010, "Implementation
and benchmarking of perceptual image hash functions"). All chest X-rays look alike at the coarsest
scales, so that the usual 64 bits do not separate patients: this hash leaves out the 28 lowest
frequencies and keeps 548 bits.

Measured on the 6,251 distinct files of the Cohen and Kermany collections:

- 19.5 million pairs of images of different patients differ in 269 bits on average. A quadratic fit
  of the logarithm of the lower tail predicts 0.1 false pairs among all of them up to 110 bits, 0.2
  up to :data:`SAME_XRAY` = 116 (1e-8 of the pairs) and 0.6 up to 125. Six pairs are below 116, each
  by eye one X-ray under two patient numbers; the nearest X-rays of different children differ in 120
  bits. As negatives or mirror images, no pair is nearer than 157.
- Of 4,780 pairs of images of one patient, 2 are below 116, both the same X-ray in two files.
- Of 400 altered copies of each kind, all were found if re-encoded (JPEG quality 30 and 75), halved,
  resized to 128x128, with brightness or contrast times 0.7 and 1.3, gamma 0.7 and 1.5, negative,
  mirrored, cropped by 1% at each side or rotated by 1 degree; 97% with the histogram equalised; 78%
  with a white label over 1% of the image; 1% if cropped by 3% at each side or rotated by 3 degrees.
  One X-ray of the Cohen collection has a second file with "day 1" written on it, which is missed
  (126 bits).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxredge.data.images import GreyImage

SAME_XRAY = 116
"""Largest number of the 548 bits that may differ between two files of one X-ray."""

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
# Rows of the DCT-II without its scale, which does not affect the signs.
_COSINES = np.cos(
    np.pi * np.arange(_FREQUENCIES)[:, None] * (np.arange(HASH_SIDE) + 0.5) / HASH_SIDE
).astype(np.float32)


@dataclass(frozen=True)
class NearPairs:
    """Pairs of images that show one X-ray.

    Attributes:
        first: int64 (P,), index of the first image.
        second: int64 (P,), index of the second image; always the larger one.
        distance: int64 (P,), number of differing bits, 0 to ``SAME_XRAY``.
        changed: bool (P,), whether they match only as negative or mirror image.
    """

    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    distance: npt.NDArray[np.int64]
    changed: npt.NDArray[np.bool_]


def perceptual_hash(pixels: GreyImage) -> Hashes:
    """Return the hash of one image.

    Args:
        pixels: uint8, shape (128, 128).

    Returns:
        uint8, shape (69,): 548 packed bits, and one that is 0 if the image is uniform and
        therefore matches no other.
    """
    values = pixels.astype(np.float32)
    coefficients = (_COSINES @ values @ _COSINES.T).ravel()[_KEPT]
    return np.packbits(np.append(coefficients > 0, values.std() >= _FLAT))


def near_pairs(hashes: Hashes) -> Iterator[NearPairs]:
    """Yield the pairs that show one X-ray, block by block, to bound the memory.

    Two hashes as vectors of +1 and -1 have the inner product (bits - 2 * distance): one matrix
    product yields all Hamming distances of a block, exactly, as float32 represents integers up to
    2^24.

    Args:
        hashes: uint8 (N, 69), rows of :func:`perceptual_hash`.
    """
    for top in range(0, len(hashes), _BLOCK):
        rows = _signs(hashes[top : top + _BLOCK])
        for left in range(top, len(hashes), _BLOCK):
            columns = _signs(hashes[left : left + _BLOCK])
            alike, mirrored = rows @ columns.T, rows @ (columns * _MIRRORED).T
            # A negative differs in every bit, which changes the sign of the product.
            product = np.maximum(np.abs(alike), np.abs(mirrored))
            near = product >= BITS - 2 * SAME_XRAY
            if left == top:
                near = np.triu(near, 1)
            row, column = np.nonzero(near)
            distance = ((BITS - product[row, column]) / 2).astype(np.int64)
            changed = alike[row, column] < product[row, column]
            yield NearPairs(row + top, column + left, distance, changed)


def _signs(hashes: Hashes) -> npt.NDArray[np.float32]:
    """Return hashes as float32 (N, 548) of +1 and -1; rows of 0 for uniform images."""
    bits = np.unpackbits(hashes, axis=1, count=BITS + 1).astype(np.float32)
    return (2 * bits[:, :BITS] - 1) * bits[:, BITS:]
