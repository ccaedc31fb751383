"""The ``mse`` method: the range under which the mean squared error of quantization is least.

The error is that of QuantizeLinear and DequantizeLinear on the middle of each bin, rounding and
clipping and the rounding of the zero point included. Where nothing is clipped, int8 has eight bins
or more a step and uint8 four; an eighth of that range is the least considered, since bins would
hide the rounding of steps much smaller than themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cxredge.quantization.ranges.histogram import Doubles, Histogram

# Candidates are shares of the largest value, evenly spaced in their logarithm: a coarse search and
# a fine one around its best. The error is flat near its least, where 1% more or less costs nothing.
_SHARES = np.geomspace(1 / 8, 1, 16)
_NEIGHBOURHOOD = np.geomspace(_SHARES[0] / _SHARES[1], _SHARES[1] / _SHARES[0], 15)
_ROUNDS = 2


def least_error_threshold(histogram: Histogram) -> float:
    """Return t of the best range (-t, t) of int8 with zero point 0.

    Args:
        histogram: Of at least one value other than zero.
    """
    spikes = _Spikes.of(histogram)
    return _search(lambda ends: spikes.error(ends / 127, np.zeros(1), -128), histogram.peak)


def least_error_range(histogram: Histogram) -> tuple[float, float]:
    """Return the best range of uint8, its ends found in turn.

    Args:
        histogram: Of at least one value other than zero.
    """
    spikes = _Spikes.of(histogram)
    least, most = min(histogram.low, 0.0), max(histogram.high, 0.0)
    low, high = least, most
    for _ in range(_ROUNDS):
        high = _best_high(spikes, low, most)
        low = -_best_high(spikes.mirrored(), -high, -least)
    return low, high


@dataclass(frozen=True)
class _Spikes:
    """A histogram as if all values of a bin were at its middle: float64 (B,) each."""

    values: Doubles
    counts: Doubles

    @classmethod
    def of(cls, histogram: Histogram) -> _Spikes:
        filled = histogram.counts > 0
        return cls(histogram.centres[filled], histogram.counts[filled].astype(np.float64))

    def mirrored(self) -> _Spikes:
        return _Spikes(-self.values, self.counts)

    def error(self, scales: Doubles, zero_points: Doubles, least: int) -> Doubles:
        """Return the sum of squared errors for each scale, 256 steps from ``least`` on."""
        steps = np.rint(self.values / scales[:, None]) + zero_points[:, None]
        steps = np.clip(steps, least, least + 255) - zero_points[:, None]
        errors: Doubles = (steps * scales[:, None] - self.values) ** 2 @ self.counts
        return errors


def _best_high(spikes: _Spikes, low: float, most: float) -> float:
    """Return the best upper end, at most ``most``, with ``low`` given."""
    if not most:
        return 0.0

    def error(highs: Doubles) -> Doubles:
        scales = (highs - low) / 255
        return spikes.error(scales, np.rint(-low / scales), 0)

    return _search(error, most)


def _search(error: Callable[[Doubles], Doubles], most: float) -> float:
    """Return the end of least error in (0, most]; of equal ones the widest."""
    ends = most * _SHARES[::-1]
    best = ends[np.argmin(error(ends))]
    ends = np.minimum(best * _NEIGHBOURHOOD[::-1], most)
    return float(ends[np.argmin(error(ends))])
