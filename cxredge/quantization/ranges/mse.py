"""The ``mse`` method: the range with the smallest mean squared quantization error.

The error is that of QuantizeLinear and DequantizeLinear on the middle of each bin, including
clipping and the rounding of the zero point. Without clipping, a quantization step spans at least
eight bins for int8 and four for uint8. The smallest range considered is an eighth of that, since
bins would hide the rounding errors of much smaller steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cxredge.quantization.ranges.histogram import Doubles, Histogram

# Candidates are shares of the largest value with geometric spacing: a coarse search, and a fine one
# around its best. The error is flat near its minimum, where 1% more or less makes no difference.
_SHARES = np.geomspace(1 / 8, 1, 16)
_NEIGHBOURHOOD = np.geomspace(_SHARES[0] / _SHARES[1], _SHARES[1] / _SHARES[0], 15)
_ROUNDS = 2


def least_error_threshold(histogram: Histogram) -> float:
    """Return t of the best range (-t, t) of int8 with zero point 0.

    Args:
        histogram: Histogram with at least one value other than zero.
    """
    values = _BinnedValues.of(histogram)
    return _search(lambda ends: values.error(ends / 127, np.zeros(1), -128), histogram.peak)


def least_error_range(histogram: Histogram) -> tuple[float, float]:
    """Return the best range of uint8, optimising its two ends alternately.

    Args:
        histogram: Histogram with at least one value other than zero.
    """
    values = _BinnedValues.of(histogram)
    least, most = min(histogram.low, 0.0), max(histogram.high, 0.0)
    low, high = least, most
    for _ in range(_ROUNDS):
        high = _best_high(values, low, most)
        low = -_best_high(values.mirrored(), -high, -least)
    return low, high


@dataclass(frozen=True)
class _BinnedValues:
    """Values at the middle of each bin with their counts: float64 (B,) each."""

    values: Doubles
    counts: Doubles

    @classmethod
    def of(cls, histogram: Histogram) -> _BinnedValues:
        filled = histogram.counts > 0
        return cls(histogram.centres[filled], histogram.counts[filled].astype(np.float64))

    def mirrored(self) -> _BinnedValues:
        return _BinnedValues(-self.values, self.counts)

    def error(self, scales: Doubles, zero_points: Doubles, least: int) -> Doubles:
        """Return the sum of squared errors for each scale, with 256 levels from ``least`` on."""
        levels = np.rint(self.values / scales[:, None]) + zero_points[:, None]
        levels = np.clip(levels, least, least + 255) - zero_points[:, None]
        errors: Doubles = (levels * scales[:, None] - self.values) ** 2 @ self.counts
        return errors


def _best_high(values: _BinnedValues, low: float, most: float) -> float:
    """Return the best upper end, at most ``most``, for a given lower end."""
    if not most:
        return 0.0

    def error(highs: Doubles) -> Doubles:
        scales = (highs - low) / 255
        return values.error(scales, np.rint(-low / scales), 0)

    return _search(error, most)


def _search(error: Callable[[Doubles], Doubles], most: float) -> float:
    """Return the end with the smallest error in (0, most]; the widest of equal ones."""
    ends = most * _SHARES[::-1]
    best = ends[np.argmin(error(ends))]
    ends = np.minimum(best * _NEIGHBOURHOOD[::-1], most)
    return float(ends[np.argmin(error(ends))])
