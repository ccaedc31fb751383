"""The ``entropy`` method: the threshold that changes the distribution of |x| least.

This is TensorRT's entropy calibrator (Migacz, "8-bit Inference with TensorRT", GTC 2017, session
S7310). For each candidate threshold, P is the distribution of |x| with all clipped values in the
last bin. Q is its quantized version: the bins below the threshold are merged into one bin per
quantization level, then spread evenly over the bins that P uses. The threshold with the smallest
Kullback-Leibler divergence of Q from P is chosen.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cxredge.quantization.ranges.histogram import Counts, Doubles, Histogram

# In bins. Consecutive candidates differ by at most 0.8% of the largest magnitude.
_STRIDE = 8


def least_divergent_threshold(histogram: Histogram, levels: int) -> float:
    """Return the threshold of least divergence, at most the largest magnitude.

    Args:
        histogram: Histogram with at least one value other than zero.
        levels: Number of quantization levels from zero to the threshold, which is also the minimum
            number of bins.
    """
    counts = histogram.magnitudes
    used = int(np.flatnonzero(counts)[-1]) + 1
    # The peak that ReLU leaves at zero would outweigh all values that could be clipped.
    counts[0] = min(counts[0], counts[1])
    if used <= levels:
        return histogram.peak
    # Widest first, so that of equal divergences the one that clips least is chosen.
    bins = np.arange(used, levels - 1, -_STRIDE)
    best = int(bins[np.argmin(_divergences(counts, bins, levels))])
    return min(best * histogram.width, histogram.peak)


def _divergences(counts: Counts, bins: npt.NDArray[np.intp], levels: int) -> Doubles:
    """Return KL(P || Q) in nats for thresholds of ``bins`` bins.

    With p of N counts in a bin of P and q of S counts in a bin of Q, it is

        (sum of p log p - sum of p log q) / N - log N + log S.

    As q is equal in all bins of a level that P uses, the sums follow from cumulative counts.
    """
    below = _cumulated(counts)
    filled = _cumulated(counts > 0)
    total, last = below[-1], bins - 1
    clipped = total - below[bins]
    ends = np.arange(levels + 1) * bins[:, None] // levels
    in_q = np.diff(below[ends])
    in_p = in_q.copy()
    in_p[:, -1] += clipped
    spread = np.diff(filled[ends])
    spread[:, -1] += (counts[last] == 0) & (clipped > 0)
    # Where P has values and Q has none, the divergence is infinite.
    with np.errstate(divide="ignore"):
        log_q = np.log(in_q / np.maximum(spread, 1))
        cross = np.multiply(in_p, log_q, where=in_p > 0, out=np.zeros(in_p.shape)).sum(axis=1)
    own = _cumulated(_x_log_x(counts))[last] + _x_log_x(counts[last] + clipped)
    all_of_q = below[bins]
    divergences = (own - cross) / total - np.log(total) + np.log(np.maximum(all_of_q, 1))
    return np.where(all_of_q > 0, divergences, np.inf)


def _cumulated(values: npt.NDArray[Any]) -> Doubles:
    """Return the sums of the first 0, 1, 2 ... values, exact for counts up to 2^53."""
    sums: Doubles = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return sums


def _x_log_x(counts: npt.NDArray[Any]) -> Doubles:
    values: Doubles = np.multiply(counts, np.log(np.maximum(counts, 1)))
    return values
