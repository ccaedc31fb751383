"""Ranges from histograms, compared with the same definitions on the values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cxredge.errors import CxredgeError
from cxredge.quantization.ranges.histogram import EMPTY, Histogram
from cxredge.quantization.ranges.methods import clipped_range
from cxredge.vocabulary import RangeMethod

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=200_000).astype(np.float32)
SKEWED = (RNG.gamma(2.0, size=200_000) - 1).astype(np.float32)
LAPLACE = RNG.laplace(size=200_000).astype(np.float32)
ANY = pytest.mark.parametrize("symmetric", [True, False])


def of(values: np.ndarray) -> Histogram:
    return EMPTY.add(values.astype(np.float32))


@ANY
@pytest.mark.parametrize("method", RangeMethod)
@given(values=arrays(np.float32, st.integers(1, 40), elements=FLOATS))
def test_ranges_include_zero_and_stay_within_the_values(
    method: RangeMethod, symmetric: bool, values: np.ndarray
) -> None:
    low, high = clipped_range(of(values), method, symmetric)
    peak = float(np.abs(values).max())
    assert low <= 0 <= high
    assert (low < high) == (peak > 0)
    if symmetric:
        assert -low == high <= peak
    else:
        assert low >= min(values.min(), 0)
        assert high <= max(values.max(), 0)


def test_minmax_clips_nothing() -> None:
    histogram = of(np.array([-1.5, 0.25, 4.0]))
    assert clipped_range(histogram, RangeMethod.MINMAX, symmetric=True) == (-4.0, 4.0)
    assert clipped_range(histogram, RangeMethod.MINMAX, symmetric=False) == (-1.5, 4.0)
    positive = of(np.array([1.0, 3.0]))
    assert clipped_range(positive, RangeMethod.MINMAX, symmetric=False) == (0.0, 3.0)


@pytest.mark.parametrize("percentile", [99.99, 99.0, 90.0])
@pytest.mark.parametrize("values", [NORMAL, SKEWED, np.maximum(NORMAL, 0)])
def test_percentiles_equal_those_of_the_values(values: np.ndarray, percentile: float) -> None:
    histogram = of(values)
    close = 2 * histogram.width
    _, high = clipped_range(histogram, RangeMethod.PERCENTILE, True, percentile)
    assert high == pytest.approx(np.percentile(np.abs(values), percentile), abs=close)
    low, high = clipped_range(histogram, RangeMethod.PERCENTILE, False, percentile)
    tail = (100 - percentile) / 2
    expected = np.percentile(values, [tail, 100 - tail])
    assert (low, high) == pytest.approx((min(expected[0], 0), expected[1]), abs=close)


@ANY
def test_the_hundredth_percentile_is_minmax(symmetric: bool) -> None:
    found = clipped_range(of(SKEWED), RangeMethod.PERCENTILE, symmetric, 100)
    assert found == clipped_range(of(SKEWED), RangeMethod.MINMAX, symmetric)


@pytest.mark.parametrize("percentile", [0, -1, 100.1, float("nan")])
def test_an_invalid_percentile_is_refused(percentile: float) -> None:
    with pytest.raises(CxredgeError, match="percentile"):
        clipped_range(of(NORMAL), RangeMethod.PERCENTILE, True, percentile)


def quantization_error(values: np.ndarray, low: float, high: float, symmetric: bool) -> float:
    """Return the mean squared error of QuantizeLinear and DequantizeLinear on the values."""
    scale = high / 127 if symmetric else (high - low) / 255
    zero, least = (0, -128) if symmetric else (np.rint(-low / scale), 0)
    steps = np.clip(np.rint(values / scale) + zero, least, least + 255)
    return float((((steps - zero) * scale - values.astype(np.float64)) ** 2).mean())


@ANY
@pytest.mark.parametrize(
    "values", [NORMAL, SKEWED, LAPLACE, np.maximum(LAPLACE, 0), np.minimum(LAPLACE, 0)]
)
def test_mse_is_close_to_the_minimum_of_a_scan_over_the_values(
    values: np.ndarray, symmetric: bool
) -> None:
    few = values[:20_000]
    low, high = clipped_range(of(few), RangeMethod.MSE, symmetric)
    found = quantization_error(few, low, high, symmetric)
    peak, least, most = np.abs(few).max(), min(few.min(), 0), max(few.max(), 0)
    shares = np.linspace(0.15, 1, 35)
    ends = (
        [(-share * peak, share * peak) for share in shares]
        if symmetric
        else [(least * a, most * b) for a in shares[::2] for b in shares[::2] if least or most]
    )
    best = min(quantization_error(few, *pair, symmetric) for pair in ends)
    assert found <= best * 1.02


def test_mse_does_not_clip_a_uniform_distribution() -> None:
    even = np.linspace(-1, 1, 100_001)
    low, high = clipped_range(of(even), RangeMethod.MSE, symmetric=False)
    assert (low, high) == pytest.approx((-1, 1), rel=0.02)


def divergence_by_definition(counts: np.ndarray, bins: int, steps: int) -> float:
    """Return KL(P || Q) bin by bin, as defined in the slides of the calibrator."""
    kept = counts[:bins].astype(np.float64)
    p = kept.copy()
    p[-1] += counts[bins:].sum()
    q = np.zeros(bins)
    for step in range(steps):
        part = slice(step * bins // steps, (step + 1) * bins // steps)
        used = p[part] > 0
        if used.any():
            q[part] = np.where(used, kept[part].sum() / used.sum(), 0)
    p, q = p / p.sum(), q / q.sum()
    used = p > 0
    if (q[used] == 0).any():
        return float("inf")
    return float((p[used] * np.log(p[used] / q[used])).sum())


@pytest.mark.parametrize("values", [NORMAL, LAPLACE, SKEWED[:3000]])
def test_entropy_minimises_the_defined_divergence(values: np.ndarray) -> None:
    histogram = of(values)
    _, high = clipped_range(histogram, RangeMethod.ENTROPY, symmetric=True)
    counts = histogram.magnitudes
    counts[0] = min(counts[0], counts[1])
    used = int(np.flatnonzero(counts)[-1]) + 1
    divergences = {
        bins: divergence_by_definition(counts, bins, 128) for bins in range(used, 127, -8)
    }
    best = min(divergences, key=lambda bins: divergences[bins])
    assert high == pytest.approx(min(best * histogram.width, histogram.peak))


def test_entropy_clips_outliers() -> None:
    values = np.concatenate([NORMAL, [60.0]])
    _, high = clipped_range(of(values), RangeMethod.ENTROPY, symmetric=True)
    assert 3 < high < 15


@ANY
@pytest.mark.parametrize("method", [RangeMethod.ENTROPY, RangeMethod.MSE])
def test_a_peak_at_zero_changes_nothing(method: RangeMethod, symmetric: bool) -> None:
    plain = np.abs(LAPLACE)
    spiked = np.concatenate([plain, np.zeros(10 * len(plain))])
    found = clipped_range(of(spiked), method, symmetric)
    assert found == pytest.approx(clipped_range(of(plain), method, symmetric), rel=0.03)


@ANY
@pytest.mark.parametrize("method", RangeMethod)
def test_zeros_have_an_empty_range(method: RangeMethod, symmetric: bool) -> None:
    assert clipped_range(of(np.zeros(9)), method, symmetric) == (0.0, 0.0)
