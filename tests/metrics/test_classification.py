import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxredge.metrics.bootstrap import bootstrap
from cxredge.metrics.classification import (
    accuracy,
    auroc,
    confusion,
    expected_calibration_error,
    macro_auroc,
    macro_f1,
    reliability,
    roc_curve,
    softmax,
    threshold_at_specificity,
    wilson,
)

# True classes 0 0 0 1 1 2, predicted 0 0 1 1 2 2.
SIX = np.array(
    [[0.9, 0.1, 0], [0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0, 0.7, 0.3], [0, 0.4, 0.6], [0, 0, 1]]
)
LABELS = np.array([0, 0, 0, 1, 1, 2])

SCORED = st.lists(
    st.tuples(st.integers(0, 12).map(lambda n: n / 12), st.booleans()), min_size=1, max_size=40
)
FINE = st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=40)


def arrays(
    scored: Sequence[tuple[float, bool]], dtype: type = np.float64
) -> tuple[np.ndarray, np.ndarray]:
    return np.array([s for s, _ in scored], dtype), np.array([p for _, p in scored], bool)


def test_softmax_against_known_values_and_without_overflow() -> None:
    logits = np.array([[0, 0], [0, math.log(3)], [5000, 0], [-5000, -5000]], dtype=np.float32)
    expected = [[0.5, 0.5], [0.25, 0.75], [1, 0], [0.5, 0.5]]
    probabilities = softmax(logits)
    np.testing.assert_allclose(probabilities, expected, atol=1e-7)
    assert probabilities.dtype == np.float64


def test_accuracy_and_confusion_by_hand() -> None:
    assert accuracy(SIX, LABELS) == pytest.approx(4 / 6)
    np.testing.assert_array_equal(confusion(SIX, LABELS), [[2, 1, 0], [0, 1, 1], [0, 0, 1]])


def test_macro_f1_by_hand() -> None:
    # Class 0: TP 2, FN 1; class 1: TP 1, FP 1, FN 1; class 2: TP 1, FP 1.
    assert macro_f1(SIX, LABELS) == pytest.approx((4 / 5 + 2 / 4 + 2 / 3) / 3)


def test_macro_f1_leaves_out_classes_that_have_no_images() -> None:
    probabilities = np.eye(4)[[0, 0, 1, 3]]
    assert macro_f1(probabilities, np.array([0, 0, 1, 1])) == pytest.approx((1 + 2 / 3) / 2)
    assert macro_f1(np.eye(4)[[2, 2]], np.array([0, 1])) == 0


@settings(max_examples=150)
@given(SCORED)
def test_auroc_is_the_share_of_pairs_in_the_right_order(scored: list[tuple[float, bool]]) -> None:
    scores, positive = arrays(scored)
    pairs = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p in scores[positive]
        for n in scores[~positive]
    ]
    if not pairs:
        assert math.isnan(auroc(scores, positive))
    else:
        assert auroc(scores, positive) == pytest.approx(np.mean(pairs), abs=1e-12)


@settings(max_examples=100)
@given(SCORED.filter(lambda scored: len({p for _, p in scored}) == 2))
def test_roc_curve_rises_from_corner_to_corner_over_the_auroc(
    scored: list[tuple[float, bool]],
) -> None:
    scores, positive = arrays(scored)
    false, true = roc_curve(scores, positive)
    assert len(false) == len(true) == len(set(scores)) + 1
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert (np.diff(false) >= 0).all()
    assert (np.diff(true) >= 0).all()
    area = float((np.diff(false) * (true[1:] + true[:-1]) / 2).sum())
    assert area == pytest.approx(auroc(scores, positive), abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "positive", "expected"),
    [
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 1.0),
        ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], 0.0),
        ([0.5] * 4, [0, 0, 1, 1], 0.5),
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.75),
        ([0.1, 0.2], [1, 1], math.nan),
        ([0.1, 0.2], [0, 0], math.nan),
    ],
)
def test_auroc_of_known_cases(scores: list[float], positive: list[int], expected: float) -> None:
    found = auroc(np.array(scores), np.array(positive, dtype=bool))
    assert found == pytest.approx(expected, nan_ok=True)


def test_macro_auroc_is_the_mean_over_classes_present() -> None:
    each = [auroc(SIX[:, c], c == LABELS) for c in range(3)]
    assert macro_auroc(SIX, LABELS) == pytest.approx(np.mean(each))
    with_absent = np.hstack([SIX, np.zeros((6, 1))])
    assert macro_auroc(with_absent, LABELS) == pytest.approx(np.mean(each))
    assert math.isnan(macro_auroc(SIX, np.zeros(6, dtype=int)))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@settings(max_examples=150)
@given(scored=st.one_of(SCORED, FINE), specificity=st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99, 1]))
def test_threshold_reaches_the_specificity_and_no_lower_one_does(
    dtype: type, scored: list[tuple[float, bool]], specificity: float
) -> None:
    scores, positive = arrays(scored, dtype)
    negatives = scores[~positive]
    if not len(negatives):
        return
    threshold = threshold_at_specificity(scores, positive, specificity)
    assert np.mean(negatives < threshold) >= specificity - 1e-9
    for lower in negatives[negatives < threshold]:
        assert np.mean(negatives < lower) < specificity


def test_threshold_of_known_scores() -> None:
    scores = np.arange(10) / 10
    negative = np.zeros(10, dtype=bool)
    for specificity, passed in [(1.0, 0), (0.9, 1), (0.8, 2), (0.85, 1), (0.5, 5)]:
        threshold = threshold_at_specificity(scores, negative, specificity)
        assert (scores >= threshold).sum() == passed


def test_threshold_without_negatives_calls_everything_positive() -> None:
    scores = np.array([0.0, 0.3])
    assert (scores >= threshold_at_specificity(scores, np.ones(2, dtype=bool), 0.9)).all()


def test_calibration_error_of_a_sure_and_right_predictor_is_zero() -> None:
    assert expected_calibration_error(np.eye(3)[LABELS], LABELS) == 0


def test_calibration_error_of_a_sure_and_wrong_predictor_is_one() -> None:
    assert expected_calibration_error(np.eye(3)[(LABELS + 1) % 3], LABELS) == 1


def test_calibration_error_by_hand() -> None:
    # Bin 0.6-0.7: sure 0.65, right 1 of 2. Bin 0.9-1: sure 0.95, right 2 of 2.
    top = np.array([0.65, 0.65, 0.95, 0.95])
    probabilities = np.stack([top, 1 - top], axis=1)
    found = expected_calibration_error(probabilities, np.array([0, 1, 0, 0]))
    assert found == pytest.approx(0.5 * 0.15 + 0.5 * 0.05)


def test_calibrated_predictor_has_a_small_error() -> None:
    rng = np.random.default_rng(0)
    chance = rng.uniform(0, 1, 20_000)
    labels = (rng.uniform(0, 1, 20_000) < chance).astype(int)
    probabilities = np.stack([1 - chance, chance], axis=1)
    assert expected_calibration_error(probabilities, labels) < 0.02
    overconfident = softmax(3 * np.log(probabilities))
    assert expected_calibration_error(overconfident, labels) > 0.1


def test_reliability_bins_hold_every_image_once() -> None:
    rows = reliability(SIX, LABELS)
    assert sum(row.count for row in rows) == 6
    assert all(row.low <= row.confidence <= row.high for row in rows)
    assert [(row.count, row.accuracy) for row in rows] == [(2, 0.0), (1, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (38, 38, 0.9082, 1.0),
        (0, 38, 0.0, 0.0918),
        (19, 38, 0.3485, 0.6515),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_of_published_cases(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_mirrors(case: tuple[int, int]) -> None:
    successes, trials = case
    low, high = wilson(successes, trials)
    assert 0 <= low <= successes / trials + 1e-12
    assert successes / trials - 1e-12 <= high <= 1
    assert wilson(trials - successes, trials) == pytest.approx((1 - high, 1 - low))


def test_bootstrap_is_wider_for_images_that_come_in_patients() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=30), 10)

    def mean(chosen: np.ndarray) -> float:
        return float(values[chosen].mean())

    single = bootstrap(mean, [str(n) for n in range(300)])
    patients = bootstrap(mean, [str(n // 10) for n in range(300)])
    ratio = (patients[1] - patients[0]) / (single[1] - single[0])
    assert 2.2 < ratio < 4.2  # the square root of ten
    for low, high in (single, patients):
        assert low < values.mean() < high


def test_bootstrap_of_a_mean_agrees_with_theory() -> None:
    values = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap(lambda chosen: float(values[chosen].mean()), [str(n) for n in range(400)])
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_bootstrap_draws_whole_patients_wherever_their_images_stand() -> None:
    groups = ["b", "a", "b", "c", "a", "b"]
    images_of = {"a": [1, 4], "b": [0, 2, 5], "c": [3]}
    sizes = set()

    def check(chosen: np.ndarray) -> float:
        counts = np.bincount(chosen, minlength=6)
        drawn = [counts[images] for images in images_of.values()]
        assert all(len(set(counted)) == 1 for counted in drawn)
        assert sum(counted[0] for counted in drawn) == 3
        sizes.add(len(chosen))
        return 0.0

    bootstrap(check, groups, resamples=200)
    assert min(sizes) == 3
    assert max(sizes) == 9


def test_bootstrap_repeats_with_the_seed() -> None:
    values = np.random.default_rng(2).normal(size=50)
    groups = [str(n // 2) for n in range(50)]

    def mean(chosen: np.ndarray) -> float:
        return float(values[chosen].mean())

    assert bootstrap(mean, groups, seed=3) == bootstrap(mean, groups, seed=3)
    assert bootstrap(mean, groups, seed=3) != bootstrap(mean, groups, seed=4)


def test_bootstrap_leaves_undefined_draws_out() -> None:
    assert all(math.isnan(v) for v in bootstrap(lambda _: math.nan, ["a", "b"], resamples=20))

    def sometimes(chosen: np.ndarray) -> float:
        return math.nan if 0 in chosen else 5.0

    assert bootstrap(sometimes, ["a", "b", "c"], resamples=100) == (5.0, 5.0)


def test_rare_class_absent_from_some_draws_does_not_spoil_the_interval() -> None:
    labels = np.array([0] * 12 + [1] * 2)
    probabilities = softmax(np.random.default_rng(3).normal(size=(14, 2)) + np.eye(2)[labels])
    low, high = bootstrap(
        lambda chosen: macro_auroc(probabilities[chosen], labels[chosen]),
        [str(n) for n in range(14)],
    )
    assert 0 <= low < high <= 1
