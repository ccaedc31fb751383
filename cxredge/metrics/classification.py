"""Metrics of a classifier: pure functions of probabilities and labels, with intervals.

Shapes: ``probabilities`` is float (n, classes), rows sum to 1; ``labels`` is int (n,), indices of
classes. Rates are in [0, 1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxredge.metrics.number_types import Count, Share

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.integer[Any]]
Interval = tuple[float, float]

Z_95 = 1.959963984540054


def softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Return probabilities of float logits (n, classes)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    result: npt.NDArray[np.float64] = shifted / shifted.sum(axis=1, keepdims=True)
    return result


def accuracy(probabilities: Floats, labels: Ints) -> float:
    """Return the share of images whose top class is their label."""
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def confusion(probabilities: Floats, labels: Ints) -> Ints:
    """Return counts (classes, classes): rows are true classes, columns predicted ones."""
    classes = probabilities.shape[1]
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, probabilities.argmax(axis=1)), 1)
    return counts


def macro_f1(probabilities: Floats, labels: Ints) -> float:
    """Return the mean over the classes present of 2 TP / (2 TP + FP + FN)."""
    counts = confusion(probabilities, labels)
    hits = np.diag(counts)
    support = counts.sum(axis=1)
    total = support + counts.sum(axis=0)
    present = support > 0
    return float(np.mean(2 * hits[present] / np.maximum(total[present], 1)))


def auroc(scores: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve, ties counted half (Mann-Whitney U).

    Args:
        scores: float (n,), higher means more likely positive.
        positive: bool (n,).

    Returns:
        A value in [0, 1]; NaN if all or none are positive.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return math.nan
    ordered = np.sort(scores)
    below = np.searchsorted(ordered, scores, side="left")
    up_to = np.searchsorted(ordered, scores, side="right")
    ranks = (below + up_to + 1) / 2
    statistic = ranks[positive].sum() - positives * (positives + 1) / 2
    return float(statistic / (positives * negatives))


def macro_auroc(probabilities: Floats, labels: Ints) -> float:
    """Return the mean one-against-rest AUROC of the classes present."""
    present = np.unique(labels)
    return float(np.mean([auroc(probabilities[:, c], labels == c) for c in present]))


def roc_curve(scores: Floats, positive: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return false and true positive rates, one point per distinct score, from (0, 0) to (1, 1)."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], positive[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    true = np.cumsum(hits)[last]
    false = last + 1 - true
    return (
        np.concatenate([[0.0], false / max(false[-1], 1)]),
        np.concatenate([[0.0], true / max(true[-1], 1)]),
    )


def threshold_at_specificity(
    scores: Floats, positive: npt.NDArray[np.bool_], specificity: float
) -> float:
    """Return the lowest threshold whose specificity on these images is at least ``specificity``.

    An image counts as positive when its score is at or above the threshold.
    """
    negatives = np.sort(scores[~positive])
    allowed = math.floor((1 - specificity) * len(negatives) + 1e-9)
    if allowed >= len(negatives):
        return 0.0
    highest_negative = negatives[len(negatives) - 1 - allowed]
    # The next value in the scores' own precision: a finer one would be rounded back to a tie.
    return float(np.nextafter(highest_negative, highest_negative.dtype.type(np.inf)))


def expected_calibration_error(probabilities: Floats, labels: Ints, bins: int = 10) -> float:
    """Return the mean gap of confidence and accuracy over equal-width bins (Guo et al. 2017)."""
    return float(
        sum(
            row.count / len(labels) * abs(row.accuracy - row.confidence)
            for row in reliability(probabilities, labels, bins)
        )
    )


@dataclass(frozen=True)
class ReliabilityBin:
    """Images whose top probability is in one bin: number, mean probability and accuracy."""

    low: Share
    high: Share
    count: Count
    confidence: Share
    accuracy: Share


def reliability(probabilities: Floats, labels: Ints, bins: int = 10) -> list[ReliabilityBin]:
    """Return the bins of the top probability that are not empty."""
    top = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    index = np.minimum((top * bins).astype(int), bins - 1)
    return [
        ReliabilityBin(
            low=b / bins,
            high=(b + 1) / bins,
            count=int(chosen.sum()),
            confidence=float(top[chosen].mean()),
            accuracy=float(right[chosen].mean()),
        )
        for b in range(bins)
        if (chosen := index == b).any()
    ]


def wilson(successes: int, trials: int) -> Interval:
    """Return Wilson's 95% score interval of a proportion (Wilson 1927)."""
    if trials == 0:
        return (0.0, 1.0)
    share = successes / trials
    denominator = 1 + Z_95**2 / trials
    centre = (share + Z_95**2 / (2 * trials)) / denominator
    spread = share * (1 - share) / trials + Z_95**2 / (4 * trials**2)
    half = Z_95 * math.sqrt(spread) / denominator
    return (max(0.0, centre - half), min(1.0, centre + half))
