"""From the histogram of an activation to the range that INT8 should cover.

Every range includes zero and lies within what was measured, so that no step is spent on values
that never occur. In the symmetric case it is (-t, t).

The spike at zero that ReLU leaves is no reason to clip: zero is exact under every scale. It has no
error in ``mse``, where the bin around zero counts as zero, and ``entropy`` sees that bin no higher
than the one beside it.
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
"""Share of values, in percent, that ``percentile`` does not clip."""


def clipped_range(
    histogram: Histogram, method: RangeMethod, symmetric: bool, percentile: float = PERCENTILE
) -> Range:
    """Return the range of an activation.

    Args:
        histogram: Of its values.
        method: How the range is chosen.
        symmetric: For int8 with zero point 0; otherwise for uint8 with any.
        percentile: Share of values in percent that the method of that name does not clip. Around
            zero they are those of |x|; otherwise as many are clipped below as above.

    Returns:
        (low, high) with low <= 0 <= high; (0, 0) if there was nothing but zeros.

    Raises:
        CxredgeError: The percentile is not in (0, 100].
    """
    if not 0 < percentile <= 100:
        raise CxredgeError(
            f"The percentile {percentile:g} is not above 0 and at most 100.",
            f"Use {PERCENTILE:g} or so.",
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
        RangeMethod.ENTROPY: lambda: least_divergent_threshold(histogram, steps=128),
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
    """Return the value that ``share`` of all lie below, as if they were even within their bin."""
    up_to = np.cumsum(counts)
    target = share * up_to[-1]
    index = min(int(np.searchsorted(up_to, target)), len(counts) - 1)
    beyond = (up_to[index] - target) / max(counts[index], 1)
    return float(edges[index + 1] - beyond * (edges[index + 1] - edges[index]))


def _least_divergent(histogram: Histogram) -> Range:
    # The method knows |x| only. What lies on one side of zero has all 256 steps there.
    one_sided = histogram.low >= 0 or histogram.high <= 0
    threshold = least_divergent_threshold(histogram, steps=256 if one_sided else 128)
    return -threshold, threshold
