"""The paired bootstrap over patients: draw once, and see every measure under the same draws.

A draw is a weight for each image: how often its patient was drawn. Statistics take the weights of
many draws at once, float (draws, images), and return one value for each draw; a statistic that a
draw does not define, such as the AUROC of a class that it left out, is NaN there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxredge.metrics.classification import Floats, Interval, Ints

Bools = npt.NDArray[np.bool_]

_BLOCK = 2_000_000
"""Weights held at a time: 16 MB, whatever the number of images."""


def patient_draws(
    patients: Sequence[str], resamples: int = 1000, seed: int = 0
) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the weights of the images, some draws at a time.

    Images of one patient are alike, so whole patients are drawn, with replacement (cluster
    bootstrap, Davison and Hinkley 1997, section 3.8).

    Args:
        patients: The patient of each image.
        resamples: How many draws in all.
        seed: Same seed, same draws.

    Yields:
        float (draws, images), whole numbers.
    """
    _, patient_of = np.unique(np.asarray(patients), return_inverse=True)
    groups = int(patient_of.max()) + 1
    rng = np.random.default_rng(seed)
    at_once = max(1, _BLOCK // len(patient_of))
    for start in range(0, resamples, at_once):
        draws = min(at_once, resamples - start)
        drawn = rng.integers(groups, size=(draws, groups))
        flat = (drawn + groups * np.arange(draws)[:, None]).ravel()
        counts = np.bincount(flat, minlength=draws * groups).reshape(draws, groups)
        yield counts[:, patient_of].astype(np.float64)


def weighted_mean(values: Any, weights: Floats) -> npt.NDArray[np.float64]:
    """Return the mean of ``values`` (images,) or (images, k) under each draw."""
    total = weights.sum(axis=1)
    result: npt.NDArray[np.float64] = (weights @ values) / (
        total if np.ndim(values) == 1 else total[:, None]
    )
    return result


def weighted_auroc(scores: Floats, positive: Bools, weights: Floats) -> npt.NDArray[np.float64]:
    """Return the area under the ROC curve under each draw, ties counted half.

    Args:
        scores: float (images,), higher means more likely positive.
        positive: bool (images,).
        weights: float (draws, images).

    Returns:
        float (draws,) in [0, 1]; NaN where a draw has no positives or no negatives.
    """
    order = np.argsort(scores, kind="stable")
    ranked, hits, drawn = scores[order], positive[order], weights[:, order]
    starts = np.flatnonzero(np.append(True, np.diff(ranked) != 0))
    positives = np.add.reduceat(drawn * hits, starts, axis=1)
    negatives = np.add.reduceat(drawn * ~hits, starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives / 2
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    return _ratio((positives * below).sum(axis=1), pairs)


def weighted_sensitivity(
    called: Bools, positive: Bools, weights: Floats
) -> npt.NDArray[np.float64]:
    """Return the share of positive images that are called, under each draw; columns are classes.

    Args:
        called: bool (images, classes).
        positive: bool (images, classes).
        weights: float (draws, images).

    Returns:
        float (draws, classes); NaN where a draw has no positives.
    """
    return _ratio(weights @ (called & positive), weights @ positive)


def weighted_calibration_error(
    confidence: Floats, right: Bools, weights: Floats, bins: int = 10
) -> npt.NDArray[np.float64]:
    """Return the expected calibration error under each draw, bins of equal width.

    The error is the sum over bins of ``|sum of weight * (right - confidence)|`` over the total
    weight, which is
    :func:`cxredge.metrics.classification.expected_calibration_error` with the division by the
    bin's count cancelled.

    Args:
        confidence: float (images,), the top probability.
        right: bool (images,), whether the top class is the label.
        weights: float (draws, images).
        bins: How many.
    """
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.zeros((len(confidence), bins))
    gaps[np.arange(len(confidence)), index] = right - confidence
    error: npt.NDArray[np.float64] = np.abs(weighted_mean(gaps, weights)).sum(axis=1)
    return error


def mean_defined(values: Floats) -> npt.NDArray[np.float64]:
    """Return the mean of each row (draws, k) over what is not NaN; NaN where nothing is."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(axis=1), defined.sum(axis=1))


def percentile_interval(values: Floats) -> Interval | None:
    """Return the 95% percentile interval of a statistic's draws; None when never defined."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    # A thousand draws settle three digits; what rounding of sums leaves behind is cut off.
    return (round(float(low), 6), round(float(high), 6))


def one_hot(labels: Ints, classes: int) -> Bools:
    """Return bool (images, classes), true at each image's label."""
    result: Bools = np.asarray(labels)[:, None] == np.arange(classes)
    return result


def _ratio(parts: Any, wholes: Any) -> npt.NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        result: npt.NDArray[np.float64] = np.asarray(parts, np.float64) / wholes
    return result


def bootstrap(
    statistic: Callable[[Ints], float],
    groups: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return the 95% percentile interval of a statistic when patients are drawn again.

    Images of one patient are alike, so whole patients are resampled (cluster bootstrap, Davison
    and Hinkley 1997, section 3.8); with single images the interval would come out too narrow.

    Args:
        statistic: Maps an int array of image indices (with repeats) to a number; NaN is left out.
        groups: The patient of each image.
        resamples: How many draws.
        seed: Same seed, same interval.

    Returns:
        Lower and upper bound; NaN twice when the statistic was never defined.
    """
    _, inverse = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(inverse == g) for g in range(inverse.max() + 1)]
    rng = np.random.default_rng(seed)
    values = np.array(
        [
            statistic(np.concatenate([members[g] for g in drawn]))
            for drawn in rng.integers(len(members), size=(resamples, len(members)))
        ]
    )
    values = values[~np.isnan(values)]
    if not len(values):
        return (math.nan, math.nan)
    low, high = np.percentile(values, [2.5, 97.5])
    return (float(low), float(high))
