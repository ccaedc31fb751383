"""Weighted statistics against the same statistics of images that are really drawn again."""

from __future__ import annotations

import time

import numpy as np
import pytest

from cxredge.metrics import classification as metrics
from cxredge.metrics.bootstrap import (
    bootstrap,
    mean_defined,
    one_hot,
    patient_weights,
    percentile_interval,
    weighted_auroc,
    weighted_calibration_error,
    weighted_mean,
    weighted_sensitivity,
)

IMAGES, CLASSES = 60, 3


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture
def weights(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 4, (5, IMAGES)).astype(float)


def repeated(weights: np.ndarray) -> list[np.ndarray]:
    """Return for each draw the indices of its images, as often as they were drawn."""
    return [np.repeat(np.arange(IMAGES), row.astype(int)) for row in weights]


def test_patients_are_drawn_whole() -> None:
    patients = ["a", "b", "a", "c", "b", "a"]
    (weights,) = patient_weights(patients, resamples=200)
    assert weights.shape == (200, 6)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 0] == weights[:, 5]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert (weights[:, 0] != weights[:, 1]).any()


def test_draws_come_in_blocks_that_add_up(monkeypatch) -> None:
    monkeypatch.setattr("cxredge.metrics.bootstrap._BLOCK", 40)
    blocks = list(patient_weights([str(n) for n in range(10)], resamples=11))
    assert [len(block) for block in blocks] == [4, 4, 3]


def test_same_interval_as_the_bootstrap_that_repeats_images(rng: np.random.Generator) -> None:
    labels = rng.integers(CLASSES, size=IMAGES)
    scores = rng.normal(size=IMAGES) + (labels == 1)
    patients = [str(n // 3) for n in range(IMAGES)]
    (weights,) = patient_weights(patients)
    drawn = weighted_auroc(scores, labels == 1, weights)
    expected = bootstrap(lambda i: metrics.auroc(scores[i], labels[i] == 1), patients)
    assert percentile_interval(drawn) == pytest.approx(expected, abs=1e-6)


def test_auroc_with_ties(rng: np.random.Generator, weights: np.ndarray) -> None:
    scores, positive = rng.integers(0, 5, IMAGES) / 4, rng.random(IMAGES) < 0.3
    expected = [metrics.auroc(scores[i], positive[i]) for i in repeated(weights)]
    assert weighted_auroc(scores, positive, weights) == pytest.approx(expected)


def test_auroc_known_by_hand() -> None:
    scores, positive = np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])
    assert weighted_auroc(scores, positive, np.ones((1, 4))) == pytest.approx([0.75])
    # The positive that ranks low is drawn three times: 1 - 3/8 of the pairs are in order.
    assert weighted_auroc(scores, positive, np.array([[1.0, 1, 3, 1]])) == pytest.approx([0.625])


def test_auroc_of_a_draw_without_positives_is_undefined() -> None:
    scores, positive = np.array([0.2, 0.7]), np.array([False, True])
    found = weighted_auroc(scores, positive, np.array([[2.0, 0.0], [1.0, 1.0]]))
    assert np.isnan(found[0])
    assert found[1] == 1


def test_calibration_error(rng: np.random.Generator, weights: np.ndarray) -> None:
    probabilities = metrics.softmax(rng.normal(size=(IMAGES, CLASSES)))
    labels = rng.integers(CLASSES, size=IMAGES)
    right = probabilities.argmax(1) == labels
    expected = [
        metrics.expected_calibration_error(probabilities[i], labels[i]) for i in repeated(weights)
    ]
    found = weighted_calibration_error(probabilities.max(axis=1), right, weights)
    assert found == pytest.approx(expected)


def test_sensitivity_and_mean(rng: np.random.Generator, weights: np.ndarray) -> None:
    labels = rng.integers(CLASSES, size=IMAGES)
    called, positive = rng.random((IMAGES, CLASSES)) < 0.5, one_hot(labels, CLASSES)
    found = weighted_sensitivity(called, positive, weights)
    for draw, drawn in enumerate(repeated(weights)):
        for c in range(CLASSES):
            of_class = drawn[labels[drawn] == c]
            assert found[draw, c] == pytest.approx(called[of_class, c].mean())
        assert weighted_mean(labels, weights)[draw] == pytest.approx(labels[drawn].mean())


def test_mean_of_what_is_defined() -> None:
    found = mean_defined(np.array([[1.0, np.nan, 0.5], [np.nan, np.nan, np.nan]]))
    assert found[0] == 0.75
    assert np.isnan(found[1])


def test_interval_of_what_is_never_defined() -> None:
    assert percentile_interval(np.array([np.nan, np.nan])) is None


def test_a_thousand_images_take_about_a_second() -> None:
    from cxredge.gate.gate import GateLimits, Validation, compare

    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=1000)
    reference = rng.normal(size=(1000, 4)) + 2 * np.eye(4)[labels]
    candidate = reference + rng.normal(0, 0.1, reference.shape)
    patients = [str(n // 2) for n in range(1000)]
    start = time.process_time()
    compare(
        reference, candidate, labels, patients, GateLimits(), "abcd",
        Validation(reference, candidate, labels, 0.9),
    )  # fmt: skip
    assert time.process_time() - start < 3
