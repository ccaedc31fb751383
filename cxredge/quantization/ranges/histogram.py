"""Histograms of activations whose bin width grows by powers of two, so that they merge exactly.

A bin is 2^k wide, and bins are aligned at zero. For values beyond the last bin, k grows and
neighbouring bins are merged in pairs. Since k depends on the largest magnitude only, and the bin of
a value under k + 1 on its bin under k only, the counts are a function of the multiset of values.
They do not depend on order, batches or number of processes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 2048
"""Number of bins of magnitudes; the largest magnitude lies in the upper half of them."""

SIZE = 2 * BINS - 1
"""Number of bins of signed values: both signs share the bin around zero."""

# For smaller exponents, the inverse of the width exceeds float32. At 2^117, bins hold all float32.
_SMALLEST_EXPONENT = -126
_OCTAVES = BINS.bit_length() - 1
# A chunk fits into the second-level cache.
_CHUNK = 1 << 16

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


class NotFiniteError(ValueError):
    """A value is NaN or infinite."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """Histogram of signed values.

    Bin 0 holds |x| < 2^k; bin i > 0 holds i * 2^k <= x < (i + 1) * 2^k; bin -i mirrors it. Values
    are truncated towards zero, so magnitudes that underflow when scaled also end up in bin 0.

    Attributes:
        exponent: k, in [-126, 117].
        counts: int64 (4095,), bins -2047 to 2047.
        low: Minimum; infinity if there are no values.
        high: Maximum; minus infinity if there are no values.
    """

    exponent: int
    counts: Counts
    low: float
    high: float

    @property
    def total(self) -> int:
        """Number of values."""
        return int(self.counts.sum())

    @property
    def width(self) -> float:
        """Width of a bin; the bin around zero is twice as wide."""
        return math.ldexp(1.0, self.exponent)

    @property
    def peak(self) -> float:
        """Largest magnitude; 0 if there are no values."""
        return max(-self.low, self.high, 0.0)

    @property
    def centres(self) -> Doubles:
        """Middle of each bin, float64 (4095,); exactly 0 for the bin around zero."""
        bins = np.arange(1 - BINS, BINS)
        centres: Doubles = (bins + 0.5 * np.sign(bins)) * self.width
        return centres

    @property
    def magnitudes(self) -> Counts:
        """Counts of |x|, int64 (2048,); bin i covers i to i + 1 times the width."""
        folded: Counts = self.counts[BINS - 1 :].copy()
        folded[1:] += self.counts[: BINS - 1][::-1]
        return folded

    def add(self, values: Floats) -> Histogram:
        """Return the histogram with ``values`` added.

        Args:
            values: float32, any shape.

        Raises:
            NotFiniteError: A value is NaN or infinite.
        """
        if not values.size:
            return self
        # NaN propagates through min and max. Adding 0 turns -0 into 0.
        low, high = float(values.min()) + 0.0, float(values.max()) + 0.0
        if not (math.isfinite(low) and math.isfinite(high)):
            raise NotFiniteError(f"values from {low} to {high}")
        exponent = max(self.exponent, _exponent_for(max(-low, high)))
        counts = self._merged_to(exponent)
        scale = np.float32(math.ldexp(1.0, -exponent))
        flat = values.reshape(-1)
        for start in range(0, flat.size, _CHUNK):
            # Scaling by a power of two is exact, except for magnitudes that end up in bin 0 anyway.
            bins = (flat[start : start + _CHUNK] * scale).astype(np.int32)
            bins += BINS - 1
            counts = counts + np.bincount(bins, minlength=SIZE)
        return Histogram(exponent, counts, min(low, self.low), max(high, self.high))

    def merge(self, other: Histogram) -> Histogram:
        """Return the histogram of the values of both histograms."""
        exponent = max(self.exponent, other.exponent)
        counts = self._merged_to(exponent) + other._merged_to(exponent)
        return Histogram(exponent, counts, min(self.low, other.low), max(self.high, other.high))

    def moved(self, by: float) -> Histogram:
        """Return the histogram of the values shifted by ``by``, to the precision of the bins.

        Each bin is shifted by its middle; minimum and maximum are exact.
        """
        low, high = self.low + by, self.high + by
        exponent = _exponent_for(max(-low, high))
        middles = np.clip(self.centres + by, low, high)
        bins = (middles * math.ldexp(1.0, -exponent)).astype(np.int64) + BINS - 1
        counts = np.bincount(bins, self.counts, SIZE).astype(np.int64)
        return Histogram(exponent, counts, low, high)

    def is_consistent(self) -> bool:
        """Return whether counts, range and bin width can belong to the same values."""
        if self.counts.shape != (SIZE,) or self.counts.min() < 0:
            return False
        if not self.total:
            return self.exponent == EMPTY.exponent and self.low > self.high
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            return False
        used = np.flatnonzero(self.counts) + 1 - BINS
        ends = (math.trunc(self.low / self.width), math.trunc(self.high / self.width))
        return self.exponent == _exponent_for(self.peak) and ends == (used[0], used[-1])

    def _merged_to(self, exponent: int) -> Counts:
        shift = exponent - self.exponent
        if not shift:
            return self.counts
        merged = np.zeros(SIZE, np.int64)
        centre = BINS - 1
        _add_merged(merged[centre:], self.counts[centre:], shift)
        # The bin around zero has been added already.
        left = self.counts[centre::-1].copy()
        left[0] = 0
        _add_merged(merged[centre::-1], left, shift)
        return merged


EMPTY = Histogram(_SMALLEST_EXPONENT, np.zeros(SIZE, np.int64), math.inf, -math.inf)
"""The histogram of no values."""


def _exponent_for(peak: float) -> int:
    """Return the smallest k with ``peak`` < 2048 * 2^k."""
    # The exponent of zero is, by definition, zero.
    return max(math.frexp(peak)[1] - _OCTAVES, _SMALLEST_EXPONENT) if peak else _SMALLEST_EXPONENT


def _add_merged(merged: Counts, counts: Counts, shift: int) -> None:
    """Add bins of magnitudes to the bins, 2^shift times as wide, that contain them."""
    sums = counts.reshape(-1, 1 << min(shift, _OCTAVES)).sum(axis=1)
    merged[: sums.size] += sums
