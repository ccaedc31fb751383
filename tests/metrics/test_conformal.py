"""Prediction sets: their coverage, their levels, and MAPIE's on the same images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cxredge.metrics.classification import Floats, Ints, softmax
from cxredge.metrics.conformal import (
    patients_needed,
    prediction_set,
    prediction_sets,
    scores,
    set_levels,
)

CLASSES = 4


def draw(rng: np.random.Generator, count: int, sharpness: float = 2.0) -> tuple[Floats, Ints]:
    """Return probabilities and labels of images, some classes harder than others."""
    labels = np.arange(count) % CLASSES
    logits = rng.normal(0, 1, (count, CLASSES))
    logits[np.arange(count), labels] += sharpness * labels / (CLASSES - 1)
    return softmax(logits), labels


def alone(count: int) -> list[str]:
    """Return patients with one image each."""
    return [str(number) for number in range(count)]


def test_a_score_is_the_probability_of_more_probable_classes() -> None:
    found = scores(np.array([[0.125, 0.5, 0.125, 0.25], [0.0, 0.0, 1.0, 0.0]]))
    assert found.tolist() == [[0.75, 0.0, 0.875, 0.5], [1.0, 1.0, 0.0, 1.0]]


def test_the_level_is_the_smallest_score_that_covers_one_more_patient() -> None:
    """Of 19 patients, a further one is among the 18 smallest scores with 18 / 20 = 90%."""
    probabilities = np.stack([np.linspace(0.02, 0.38, 19), 1 - np.linspace(0.02, 0.38, 19)], axis=1)
    labels = np.zeros(19, int)
    levels = set_levels(probabilities, labels, alone(19), 0.9)
    assert levels[0] == pytest.approx(1 - 0.04)


@pytest.mark.parametrize(("coverage", "patients"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19)])
def test_n_patients_guarantee_n_of_n_plus_one(coverage: float, patients: int) -> None:
    assert patients_needed(coverage) == patients
    rng = np.random.default_rng(0)
    for count, own in ((patients, True), (patients - 1, False)):
        first = softmax(rng.normal(0, 1, (count, 2)))
        second = np.tile([1e-3, 1 - 1e-3], (100, 1))
        labels = np.array([0] * count + [1] * 100)
        levels = set_levels(np.concatenate([first, second]), labels, alone(count + 100), coverage)
        largest = float(scores(first)[:, 0].max()) if count else 0.0
        assert levels[0] == pytest.approx(largest), own
        assert levels[1] == 0.0


def test_a_class_with_few_patients_takes_the_most_cautious_level() -> None:
    hard, easy = np.tile([0.3, 0.7], (40, 1)), np.tile([0.9, 0.1], (3, 1))
    labels = np.array([0] * 40 + [1] * 3)
    harder = np.concatenate([hard, 1 - easy])
    assert set_levels(harder, labels, alone(43), 0.9) == pytest.approx([0.7, 0.7])
    of_its_own = np.concatenate([hard, easy])
    assert set_levels(of_its_own, labels, alone(43), 0.9) == pytest.approx([0.7, 0.9])


def test_too_few_patients_of_all_classes_exclude_nothing() -> None:
    probabilities = np.tile([0.99, 0.01], (8, 1))
    labels = np.zeros(8, int)
    levels = set_levels(probabilities, labels, alone(8), 0.9)
    assert levels == [1.0, 1.0]
    assert prediction_sets(probabilities, np.array(levels)).all()


def test_each_patient_counts_once_with_its_largest_score() -> None:
    rng = np.random.default_rng(1)
    probabilities, labels = draw(rng, 200)
    patients = [f"{label}-{number // 8}" for number, label in enumerate(labels)]
    of_label = np.take_along_axis(scores(probabilities), labels[:, None], axis=1)[:, 0]
    expected = []
    for label in range(CLASSES):
        groups: dict[str, list[float]] = {}
        for index in np.flatnonzero(labels == label):
            groups.setdefault(patients[index], []).append(float(of_label[index]))
        worst = sorted(max(group) for group in groups.values())
        expected.append(worst[math.ceil(0.8 * (len(worst) + 1)) - 1])
    assert set_levels(probabilities, labels, patients, 0.8) == expected
    assert min(expected) < max(expected)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_new_patients_are_covered_class_by_class(coverage: float) -> None:
    """Mean over many calibrations, against k / (n + 1) for the k-th smallest of n scores."""
    rng, per_class, hits = np.random.default_rng(2), 30, []
    for _ in range(300):
        seen, labels = draw(rng, CLASSES * per_class)
        levels = set_levels(seen, labels, alone(len(labels)), coverage)
        new, truth = draw(rng, 400)
        inside = prediction_sets(new, np.array(levels))[np.arange(400), truth]
        hits.append([inside[truth == label].mean() for label in range(CLASSES)])
    found = np.mean(hits, axis=0)
    exact = math.ceil((per_class + 1) * coverage) / (per_class + 1)
    # The score is 0 for the most probable class, so that an easy class is covered more often.
    assert (found > exact - 0.01).all()
    assert found[0] < exact + 0.01
    assert found[0] < found[-1]


def test_clusters_are_covered_if_a_patient_counts_once() -> None:
    """Images of a patient resemble each other; counted one by one, they cover fewer patients."""
    rng, by_patient, by_image = np.random.default_rng(3), [], []
    for _ in range(300):
        of_patient = rng.normal(0, 1.5, (30, 1))
        logits = np.repeat(of_patient, 6, axis=0) + rng.normal(0, 0.1, (180, 1))
        labels = np.zeros(180, int)
        probabilities = softmax(np.concatenate([logits, np.zeros((180, 1))], axis=1))
        patients = [str(number // 6) for number in range(180)]
        first, new = labels < 1, softmax(np.stack([rng.normal(0, 1.5, 500), np.zeros(500)], axis=1))
        for found, names in ((by_patient, patients), (by_image, alone(180))):
            levels = set_levels(probabilities[first], labels, names, 0.8)
            found.append(prediction_sets(new, np.array(levels))[:, 0].mean())
    assert np.mean(by_patient) > 0.8
    assert np.mean(by_image) < np.mean(by_patient)


def test_the_most_probable_class_is_always_in_the_set() -> None:
    probabilities, _ = draw(np.random.default_rng(4), 500)
    for levels in (np.zeros(CLASSES), np.full(CLASSES, 0.3), np.ones(CLASSES)):
        found = prediction_sets(probabilities, levels)
        assert found[np.arange(500), probabilities.argmax(axis=1)].all()
    assert prediction_sets(probabilities, np.zeros(CLASSES)).sum() == 500
    assert found.all()


def test_one_set_is_a_row_of_all() -> None:
    probabilities, _ = draw(np.random.default_rng(5), 50)
    names, levels = ("a", "b", "c", "d"), {"a": 0.2, "b": 0.9, "c": 0.0, "d": 0.6}
    every = prediction_sets(probabilities, np.array(list(levels.values())))
    for row, inside in zip(probabilities.tolist(), every, strict=True):
        found = prediction_set(dict(zip(names, row, strict=True)), levels)
        assert found == tuple(np.array(names)[inside])
    assert prediction_set({"a": 1.0}, {}) == ()


class Fixed:
    """A fitted classifier whose images are its probabilities, for MAPIE."""

    def __init__(self, classes: int) -> None:
        self.classes_ = np.arange(classes)
        self.n_features_in_ = classes
        self.fitted_ = True

    def fit(self, images: Any, labels: Any = None) -> Fixed:
        return self

    def predict_proba(self, images: Floats) -> Floats:
        return images

    def predict(self, images: Floats) -> Ints:
        found: Ints = images.argmax(axis=1)
        return found

    def __sklearn_is_fitted__(self) -> bool:
        return True


def as_probabilities(of_classes: Floats) -> Floats:
    """Return probabilities, with one more class, that are larger the smaller the scores are."""
    kept = (1 - of_classes) / (2 * CLASSES)
    return np.concatenate([kept, 1 - kept.sum(axis=1, keepdims=True)], axis=1)


@pytest.mark.filterwarnings("ignore:.*less labels")
@pytest.mark.parametrize("coverage", [0.7, 0.9])
def test_mapie_has_the_same_sets(coverage: float) -> None:
    """MAPIE's threshold on the scores, calibrated on the images of one class at a time."""
    mapie = pytest.importorskip("mapie.classification", reason="needs the dev extra")
    rng = np.random.default_rng(6)
    (seen, labels), (new, _) = draw(rng, 240), draw(rng, 300)
    levels = set_levels(seen, labels, alone(240), coverage)
    found = prediction_sets(new, np.array(levels))
    for label in range(CLASSES):
        reference = mapie.SplitConformalClassifier(
            Fixed(CLASSES + 1), confidence_level=coverage, conformity_score="lac", prefit=True
        )
        of_class = labels == label
        reference.conformalize(as_probabilities(scores(seen[of_class])), labels[of_class])
        _, sets = reference.predict_set(as_probabilities(scores(new)))
        assert (sets[:, label, 0] == found[:, label]).all()
    assert 1 < found.sum(axis=1).mean() < CLASSES


def test_mapie_has_the_same_adaptive_scores() -> None:
    """MAPIE's scores include the class itself."""
    sets = pytest.importorskip("mapie.conformity_scores", reason="needs the dev extra")
    probabilities, labels = draw(np.random.default_rng(7), 200)
    reference = sets.APSConformityScore()
    found, _ = reference.get_true_label_cumsum_proba(labels, probabilities, np.arange(CLASSES))
    own = np.take_along_axis(scores(probabilities) + probabilities, labels[:, None], axis=1)
    assert np.asarray(found) == pytest.approx(own)
