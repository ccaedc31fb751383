"""Range methods: from the histogram of an activation to the range that INT8 covers.

Every range includes zero and lies within the measured one, so that no level is wasted on values
that never occur. In the symmetric case it is (-t, t).

The peak that ReLU leaves at zero must not cause clipping, as zero is exact under every scale. It
has no error in ``mse``, where the bin around zero counts as zero, and ``entropy`` limits that bin
to the count of its neighbour.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cxredge.errors import CxredgeError
from cxredge.quantization.ranges.entropy import least_divergent_threshold
from cxredge.quantization.ranges.histogram import BINS, Counts, Doubles, Histogram
from cxredge.quantization.ranges.mse import least_error_range, least_error_threshold
from cxredge.vocabulary import RangeMethod

Range = tuple[float, float]

PERCENTILE = 99.99
"""Percentage of values that ``percentile`` does not clip."""


def clipped_range(
    histogram: Histogram, method: RangeMethod, symmetric: bool, percentile: float = PERCENTILE
) -> Range:
    """Return the range of an activation.

    Args:
        histogram: Histogram of its values.
        method: The range method.
        symmetric: Whether the range is for int8 with zero point 0, or for uint8 with any.
        percentile: Percentage of values that the method of that name does not clip. In the
            symmetric case it applies to |x|; otherwise as many values are clipped below as above.

    Returns:
        (low, high) with low <= 0 <= high; (0, 0) if all values are zero.

    Raises:
        CxredgeError: The percentile is not in (0, 100].
    """
    if not 0 < percentile <= 100:
        raise CxredgeError(
            f"The percentile {percentile:g} is not above 0 and at most 100.",
            f"Use {PERCENTILE:g} or a similar value.",
        )
    if not histogram.peak:
        return 0.0, 0.0
    share = percentile / 100
    if symmetric:
        threshold = min(_threshold(histogram, method, share), histogram.peak)
        return -threshold, threshold
    least, most = min(histogram.low, 0.0), max(histogram.high, 0.0)
    low, high = _ends(histogram, method, share)
    return min(max(low, least), 0.0) + 0.0, max(min(high, most), 0.0)


def _threshold(histogram: Histogram, method: RangeMethod, share: float) -> float:
    by_method: dict[RangeMethod, Callable[[], float]] = {
        RangeMethod.MINMAX: lambda: histogram.peak,
        RangeMethod.PERCENTILE: lambda: _percentile_of_magnitudes(histogram, share),
        RangeMethod.ENTROPY: lambda: least_divergent_threshold(histogram, levels=128),
        RangeMethod.MSE: lambda: least_error_threshold(histogram),
    }
    return by_method[method]()


def _ends(histogram: Histogram, method: RangeMethod, share: float) -> Range:
    by_method: dict[RangeMethod, Callable[[], Range]] = {
        RangeMethod.MINMAX: lambda: (histogram.low, histogram.high),
        RangeMethod.PERCENTILE: lambda: _percentiles(histogram, share),
        RangeMethod.ENTROPY: lambda: _least_divergent(histogram),
        RangeMethod.MSE: lambda: least_error_range(histogram),
    }
    return by_method[method]()


def _percentile_of_magnitudes(histogram: Histogram, share: float) -> float:
    edges = np.arange(BINS + 1, dtype=np.float64) * histogram.width
    return _quantile(histogram.magnitudes, edges, share)


def _percentiles(histogram: Histogram, share: float) -> Range:
    bins = np.arange(1, BINS + 1, dtype=np.float64) * histogram.width
    edges = np.concatenate([-bins[::-1], bins])
    tail = (1 - share) / 2
    low = _quantile(histogram.counts, edges, tail)
    return low, _quantile(histogram.counts, edges, 1 - tail)


def _quantile(counts: Counts, edges: Doubles, share: float) -> float:
    """Return the quantile ``share``, assuming that values are uniform within their bin."""
    up_to = np.cumsum(counts)
    target = share * up_to[-1]
    index = min(int(np.searchsorted(up_to, target)), len(counts) - 1)
    beyond = (up_to[index] - target) / max(counts[index], 1)
    return float(edges[index + 1] - beyond * (edges[index + 1] - edges[index]))


def _least_divergent(histogram: Histogram) -> Range:
    # The method uses |x| only. Values on one side of zero have all 256 levels there.
    one_sided = histogram.low >= 0 or histogram.high <= 0
    threshold = least_divergent_threshold(histogram, levels=256 if one_sided else 128)
    return -threshold, threshold
