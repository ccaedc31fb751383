"""How well classes can be told without looking at a lung.

A linear model sees only the border of each image, or only its grey-value statistics. Where it does
well, so can a network, and the accuracy of the network need not mean that it sees the disease
(Maguolo and Nanni 2021, "A critic evaluation of methods for COVID-19 automatic detection from
X-ray images", who blacked the lungs out; DeGrave et al. 2021, "AI for radiographic COVID-19
detection selects shortcuts over signal").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from cxredge.data.appearance import Appearance, Features
from cxredge.data.manifest import Entry
from cxredge.metrics.classification import wilson
from cxredge.vocabulary import Split

_RIDGE = 0.1
_WORTH_SAYING = 0.1
_SEES = {
    "border": "sees only the outer 2 of 32x32 pixels of each image",
    "statistics": "knows only the grey-value statistics of each image",
}

Truth = npt.NDArray[np.str_]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ridge:
    """A fitted linear model.

    Attributes:
        classes: str (C,), sorted.
        mean: float64 (F,), of the training features.
        deviation: float64 (F,), their standard deviation; 1 where they do not vary.
        weights: float64 (F, C).
        shares: float64 (C,), of each class among the training images.
    """

    classes: Truth
    mean: Values
    deviation: Values
    weights: Values
    shares: Values

    def predict(self, features: Values) -> Truth:
        """Return the class of each row of features (N, F): str (N,)."""
        scores = (features - self.mean) / self.deviation @ self.weights + self.shares
        named: Truth = self.classes[scores.argmax(axis=1)]
        return named


def shortcuts(appearance: Appearance) -> dict[str, Any]:
    """Train on the training images, judge on the test images.

    Returns:
        By ``border`` and ``statistics``: ``accuracy``, ``ci95`` (Wilson), ``chance`` (the share of
        the largest class of the test images), ``images`` (of test) and ``pairs``, the same for
        each two classes alone. None where there are fewer than two classes to train on or no test
        images.
    """
    return {
        "border": _judge(appearance.border, appearance.entries),
        "statistics": _judge(appearance.statistics, appearance.entries),
    }


def shortcut_warnings(found: dict[str, Any]) -> list[str]:
    """Return a sentence for each model whose interval is at least 0.1 above chance."""
    sentences = []
    for name, sees in _SEES.items():
        result = found[name]
        if result is None:
            continue
        telling = [pair for pair in result["pairs"] if _tells(pair)]
        if not (_tells(result) or telling):
            continue
        sentence = f"A linear model that {sees} is right on {_share(result)}"
        if telling:
            best = max(telling, key=lambda pair: (pair["ci95"][0], pair["classes"]))
            first, second = best["classes"]
            sentence += f"; it tells '{first}' from '{second}' on {_share(best)}"
        sentences.append(sentence + ". A network can do so too, without seeing the disease.")
    return sentences


def fit_ridge(features: Values, labels: Truth) -> Ridge:
    """Fit one-hot labels by ridge regression (Hoerl and Kennard 1970).

    Features are standardised, and the penalty is 0.1 per image: with a few hundred features it is
    as good as logistic regression here, needs no iterations and gives the same result every time.

    Args:
        features: float64 (N, F).
        labels: str (N,).
    """
    classes = np.unique(labels)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation[deviation < 1e-6] = 1.0
    inputs = (features - mean) / deviation
    one_hot = (labels[:, None] == classes).astype(np.float64)
    shares = one_hot.mean(axis=0)
    penalty = _RIDGE * len(inputs) * np.eye(inputs.shape[1])
    weights = np.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ (one_hot - shares))
    return Ridge(classes, mean, deviation, weights, shares)


def _judge(features: Features, entries: Sequence[Entry]) -> dict[str, Any] | None:
    labels = np.array([entry.label for entry in entries], dtype=np.str_)
    train = np.array([entry.split is Split.TRAIN for entry in entries], dtype=bool)
    test = np.array([entry.split is Split.TEST for entry in entries], dtype=bool)
    classes = sorted(set(labels[train].tolist()))
    if len(classes) < 2 or not test.any():
        return None
    values = features.astype(np.float64)
    result = _accuracy(values, labels, train, test)
    pairs = []
    for pair in combinations(classes, 2):
        chosen = np.isin(labels, pair)
        if len(set(labels[chosen & test].tolist())) == 2:
            judged = _accuracy(values, labels, chosen & train, chosen & test)
            pairs.append({"classes": list(pair), **judged})
    return {**result, "pairs": pairs}


def _accuracy(
    features: Values,
    labels: Truth,
    train: npt.NDArray[np.bool_],
    test: npt.NDArray[np.bool_],
) -> dict[str, Any]:
    model = fit_ridge(features[train], labels[train])
    right = int((model.predict(features[test]) == labels[test]).sum())
    total = int(test.sum())
    largest = int(np.unique(labels[test], return_counts=True)[1].max())
    return {
        "accuracy": right / total,
        "ci95": list(wilson(right, total)),
        "chance": largest / total,
        "images": total,
    }


def _tells(result: dict[str, Any]) -> bool:
    return bool(result["ci95"][0] >= result["chance"] + _WORTH_SAYING)


def _share(result: dict[str, Any]) -> str:
    low, high = result["ci95"]
    return (
        f"{result['accuracy']:.1%} ({low:.1%} to {high:.1%}) of {result['images']} test images, "
        f"where always naming the largest class gives {result['chance']:.1%}"
    )
