"""Classification metrics compared with those of scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from cxredge.metrics.classification import (
    accuracy,
    auroc,
    confusion,
    macro_auroc,
    macro_f1,
    reliability,
    roc_curve,
)

sklearn_metrics = pytest.importorskip("sklearn.metrics", reason="needs the dev extra")
sklearn_calibration = pytest.importorskip("sklearn.calibration", reason="needs the dev extra")

CLASSES = 4
Sample = tuple[np.ndarray, np.ndarray]


@pytest.fixture(params=[0, 1, 2], ids=["continuous", "tied", "few"])
def sample(request: pytest.FixtureRequest) -> Sample:
    """Probabilities (n, 4) and labels (n,); rounded, the probabilities have many ties."""
    rng = np.random.default_rng(request.param)
    count = 12 if request.param == 2 else 400
    labels = np.arange(count) % CLASSES
    scores = rng.gamma(1.0, size=(count, CLASSES)) + 2 * np.eye(CLASSES)[labels]
    if request.param == 1:
        scores = np.round(scores)  # whole numbers, so that classes tie too
        scores += 1
    return scores / scores.sum(axis=1, keepdims=True), labels


def test_accuracy_f1_and_confusion(sample: Sample) -> None:
    probabilities, labels = sample
    predicted = probabilities.argmax(axis=1)
    assert accuracy(probabilities, labels) == sklearn_metrics.accuracy_score(labels, predicted)
    expected = sklearn_metrics.f1_score(labels, predicted, average="macro")
    assert macro_f1(probabilities, labels) == pytest.approx(expected, abs=1e-12)
    np.testing.assert_array_equal(
        confusion(probabilities, labels), sklearn_metrics.confusion_matrix(labels, predicted)
    )


def test_auroc(sample: Sample) -> None:
    probabilities, labels = sample
    for index in range(CLASSES):
        expected = sklearn_metrics.roc_auc_score(labels == index, probabilities[:, index])
        assert auroc(probabilities[:, index], labels == index) == pytest.approx(expected, abs=1e-12)
    expected = sklearn_metrics.roc_auc_score(
        labels, probabilities, multi_class="ovr", average="macro"
    )
    assert macro_auroc(probabilities, labels) == pytest.approx(expected, abs=1e-12)


def test_roc_curve(sample: Sample) -> None:
    probabilities, labels = sample
    for index in range(CLASSES):
        false, true = roc_curve(probabilities[:, index], labels == index)
        expected_false, expected_true, _ = sklearn_metrics.roc_curve(
            labels == index, probabilities[:, index], drop_intermediate=False
        )
        np.testing.assert_allclose(false, expected_false, atol=1e-12)
        np.testing.assert_allclose(true, expected_true, atol=1e-12)


def test_reliability(sample: Sample) -> None:
    """The bins of the top class; probabilities on the edge of a bin are left out.

    scikit-learn's bins include their upper edge, those of Guo et al. (2017) as implemented here
    their lower edge.
    """
    probabilities, labels = sample
    top = probabilities.max(axis=1)
    inside = ~np.isclose(top * 10, np.round(top * 10))
    probabilities, labels, top = probabilities[inside], labels[inside], top[inside]
    right = probabilities.argmax(axis=1) == labels
    found = reliability(probabilities, labels)
    expected_accuracy, expected_confidence = sklearn_calibration.calibration_curve(
        right, top, n_bins=10
    )
    np.testing.assert_allclose([row.accuracy for row in found], expected_accuracy, atol=1e-12)
    np.testing.assert_allclose([row.confidence for row in found], expected_confidence, atol=1e-12)
    assert sum(row.count for row in found) == len(labels)
