"""Accuracy of linear models that see no lung: how far classes differ in irrelevant features.

One model sees only the border of each image, another only its grey-value statistics. If they are
accurate, a network can use the same shortcut, and its accuracy does not show that it recognises
the disease (Maguolo and Nanni 2021, "A critic evaluation of methods for COVID-19 automatic
detection from X-ray images", who blacked out the lungs; DeGrave et al. 2021, "AI for radiographic
COVID-19 detection selects shortcuts over signal").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from cxredge.artifacts.records import Count
from cxredge.data.appearance import Appearance, Features
from cxredge.data.manifest import Entry
from cxredge.metrics.classification import wilson
from cxredge.vocabulary import Split

_RIDGE = 0.1
_MIN_GAIN = 0.1
_SEES = {
    "border": "sees only the outer 2 of 32x32 pixels of each image",
    "statistics": "sees only the grey-value statistics of each image",
}

Labels = npt.NDArray[np.str_]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of one model on the test images.

    Attributes:
        accuracy: Share of test images that are classified correctly.
        ci95: Its 95% interval (Wilson).
        chance: Share of the largest class of the test images.
        images: Number of test images.
    """

    accuracy: float
    ci95: tuple[float, float]
    chance: float
    images: Count

    @property
    def exceeds_chance(self) -> bool:
        """Whether the interval is at least 0.1 above chance."""
        return self.ci95[0] >= self.chance + _MIN_GAIN

    def __str__(self) -> str:
        low, high = self.ci95
        return f"{self.accuracy:.1%} ({low:.1%} to {high:.1%}) of {self.images} test images"


@dataclass(frozen=True)
class ClassPair:
    """Two classes, in alphabetical order."""

    classes: tuple[str, str]


@dataclass(frozen=True)
class PairAccuracy(Accuracy, ClassPair):
    """Accuracy of a model of two classes on their test images."""


@dataclass(frozen=True)
class ShortcutAccuracy(Accuracy):
    """Accuracy of a model of all classes, and of one model for each two classes."""

    pairs: tuple[PairAccuracy, ...]


@dataclass(frozen=True)
class Shortcuts:
    """Accuracies by the features that the models see.

    Attributes:
        border: Of the border pixels; None if fewer than two classes have training images or there
            are no test images.
        statistics: Of the grey-value statistics; None likewise.
    """

    border: ShortcutAccuracy | None
    statistics: ShortcutAccuracy | None


@dataclass(frozen=True)
class Ridge:
    """A fitted linear model.

    Attributes:
        classes: str (C,), sorted.
        mean: float64 (F,), mean of the training features.
        deviation: float64 (F,), their standard deviation; 1 for constant features.
        weights: float64 (F, C).
        shares: float64 (C,), share of each class among the training images.
    """

    classes: Labels
    mean: Values
    deviation: Values
    weights: Values
    shares: Values

    def predict(self, features: Values) -> Labels:
        """Return the class of each row of features (N, F): str (N,)."""
        scores = (features - self.mean) / self.deviation @ self.weights + self.shares
        named: Labels = self.classes[scores.argmax(axis=1)]
        return named


def find_shortcuts(appearance: Appearance) -> Shortcuts:
    """Fit the models on the training images and evaluate them on the test images."""
    return Shortcuts(
        border=_evaluate(appearance.border, appearance.entries),
        statistics=_evaluate(appearance.statistics, appearance.entries),
    )


def shortcut_warnings(shortcuts: Shortcuts) -> list[str]:
    """Return a sentence for each model whose interval is at least 0.1 above chance."""
    sentences = []
    for name, sees in _SEES.items():
        result: ShortcutAccuracy | None = getattr(shortcuts, name)
        if result is None:
            continue
        separable = [pair for pair in result.pairs if pair.exceeds_chance]
        if not (result.exceeds_chance or separable):
            continue
        sentence = f"A linear model that {sees} classifies {result} correctly; {_baseline(result)}."
        if separable:
            best = max(separable, key=lambda pair: (pair.ci95[0], pair.classes))
            first, second = best.classes
            sentence += (
                f" It separates '{first}' from '{second}' correctly in {best}; {_baseline(best)}."
            )
        sentences.append(f"{sentence} A network can do the same without recognising the disease.")
    return sentences


def fit_ridge(features: Values, labels: Labels) -> Ridge:
    """Fit one-hot labels by ridge regression (Hoerl and Kennard 1970).

    Features are standardised, and the penalty is 0.1 per image. With a few hundred features this is
    as accurate here as logistic regression, requires no iterations and is deterministic.

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


def _baseline(result: Accuracy) -> str:
    return f"always naming the largest class would give {result.chance:.1%}"


def _evaluate(features: Features, entries: Sequence[Entry]) -> ShortcutAccuracy | None:
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
            of_pair = _accuracy(values, labels, chosen & train, chosen & test)
            pairs.append(PairAccuracy(classes=pair, **vars(of_pair)))
    return ShortcutAccuracy(**vars(result), pairs=tuple(pairs))


def _accuracy(
    features: Values,
    labels: Labels,
    train: npt.NDArray[np.bool_],
    test: npt.NDArray[np.bool_],
) -> Accuracy:
    model = fit_ridge(features[train], labels[train])
    right = int((model.predict(features[test]) == labels[test]).sum())
    total = int(test.sum())
    largest = int(np.unique(labels[test], return_counts=True)[1].max())
    return Accuracy(right / total, wilson(right, total), largest / total, total)
