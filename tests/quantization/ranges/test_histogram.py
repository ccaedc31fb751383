"""The histogram is an exact function of any multiset of values."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cxredge.quantization.ranges.histogram import BINS, EMPTY, SIZE, Histogram, NotFiniteError

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
VALUES = arrays(np.float32, st.integers(1, 60), elements=FLOATS)
MAX = float(np.finfo(np.float32).max)
DENORMAL = 2.0**-149


def same(one: Histogram, other: Histogram) -> bool:
    return (
        (one.exponent, one.low, one.high) == (other.exponent, other.low, other.high)
        and np.array_equal(one.counts, other.counts)
        # -0 equals 0 but has other bits.
        and math.copysign(1, one.low) == math.copysign(1, other.low)
        and math.copysign(1, one.high) == math.copysign(1, other.high)
    )


def of(values: object) -> Histogram:
    return EMPTY.add(np.asarray(values, np.float32))


def by_definition(values: np.ndarray) -> tuple[int, np.ndarray]:
    """Return the exponent and the counts in exact arithmetic, one value after the other."""
    exact = [Fraction(float(value)) for value in values]
    exponent = -126
    while max(map(abs, exact)) >= BINS * Fraction(2) ** exponent:
        exponent += 1
    counts = np.zeros(SIZE, np.int64)
    for value in exact:
        counts[BINS - 1 + math.trunc(value / Fraction(2) ** exponent)] += 1
    return exponent, counts


@given(VALUES)
def test_counts_follow_the_definition(values: np.ndarray) -> None:
    histogram = of(values)
    exponent, counts = by_definition(values)
    assert histogram.exponent == exponent
    assert np.array_equal(histogram.counts, counts)
    assert (histogram.low, histogram.high) == (values.min(), values.max())
    assert histogram.total == values.size
    assert histogram.is_consistent()


@given(VALUES, st.randoms(use_true_random=False), st.integers(1, 7))
def test_order_and_batches_do_not_change_the_result(values: np.ndarray, random, batch: int) -> None:
    shuffled = values.copy()
    random.shuffle(shuffled)
    in_batches = EMPTY
    for start in range(0, len(shuffled), batch):
        in_batches = in_batches.add(shuffled[start : start + batch])
    assert same(in_batches, of(values))


@given(VALUES, VALUES, VALUES)
def test_merging_equals_counting_together(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    whole = of(np.concatenate([a, b, c]))
    assert same(of(a).merge(of(b)).merge(of(c)), whole)
    assert same(of(c).merge(of(a).merge(of(b))), whole)
    assert same(EMPTY.merge(whole), whole)


@given(VALUES, st.integers(-8, 8))
def test_scaling_by_a_power_of_two_moves_only_the_bins(values: np.ndarray, shift: int) -> None:
    values = np.clip(values, -1e30, 1e30)
    values[np.abs(values) < 1e-20] = 0
    if values.any():
        scaled = of(values * np.float32(2.0**shift))
        assert np.array_equal(scaled.counts, of(values).counts)
        assert scaled.exponent == of(values).exponent + shift


@given(VALUES)
def test_a_mirrored_tensor_has_a_mirrored_histogram(values: np.ndarray) -> None:
    histogram, mirrored = of(values), of(-values)
    assert np.array_equal(mirrored.counts, histogram.counts[::-1])
    assert np.array_equal(mirrored.magnitudes, histogram.magnitudes)
    assert mirrored.peak == histogram.peak


@given(VALUES)
def test_every_value_is_within_a_bin_of_a_filled_centre(values: np.ndarray) -> None:
    histogram = of(values)
    centres = histogram.centres[histogram.counts > 0]
    for value in values.astype(np.float64):
        assert np.abs(centres - value).min() <= histogram.width
    assert histogram.magnitudes.sum() == values.size


def test_growth_merges_bins_in_pairs() -> None:
    first = of([0.5, 1.0, 1.5, -1.5, 2047.0])
    assert first.exponent == 0
    grown = first.add(np.array([-2048.0], np.float32))
    assert grown.exponent == 1
    filled = {i + 1 - BINS: int(n) for i, n in enumerate(grown.counts) if n}
    assert filled == {0: 4, 1023: 1, -1024: 1}
    far = grown.add(np.array([3e38], np.float32))
    assert {i + 1 - BINS: int(n) for i, n in enumerate(far.counts) if n}.popitem()[1] == 1
    assert far.counts[BINS - 1] == 6


@pytest.mark.parametrize(
    "values",
    [
        [0.0, -0.0],
        [DENORMAL, -DENORMAL],
        [MAX, -MAX],
        [-MAX, -DENORMAL, 0.0, DENORMAL, MAX],
        [2.0**-116, -(2.0**-115)],
        [-3.0],
    ],
)
def test_extremes(values: list[float]) -> None:
    histogram = of(values)
    exponent, counts = by_definition(np.array(values, np.float32))
    assert histogram.exponent == exponent
    assert np.array_equal(histogram.counts, counts)
    assert same(of(values[::-1]), histogram)
    one_by_one = EMPTY
    for value in values:
        one_by_one = one_by_one.merge(of([value]))
    assert same(one_by_one, histogram)


def test_adding_no_values_changes_nothing() -> None:
    assert same(of([1.0]).add(np.zeros((0, 4), np.float32)), of([1.0]))
    assert EMPTY.is_consistent()
    assert EMPTY.peak == EMPTY.total == 0


def test_large_tensors_are_counted_completely() -> None:
    values = np.random.default_rng(0).normal(size=(3, 70_001)).astype(np.float32)
    histogram = of(values)
    assert histogram.total == values.size
    expected = np.histogram(np.trunc(values / histogram.width), np.arange(-2047.5, 2048))[0]
    assert np.array_equal(histogram.counts, expected)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(wrong: float) -> None:
    with pytest.raises(NotFiniteError):
        of([1.0, wrong, 2.0])
