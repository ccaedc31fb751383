"""The bootstrap over patients.

Images of one patient are alike, so whole patients are drawn, with replacement (cluster bootstrap,
Davison and Hinkley 1997, section 3.8); with single images an interval would be too narrow.

:func:`bootstrap` evaluates one statistic on the images of each draw. :func:`patient_weights`
returns the same draws as weights, how often each image was drawn, so that many statistics are
evaluated for many draws at once: the ``weighted_*`` functions take float (draws, images) and return
one value per draw. Statistics that are not defined for a draw, such as the AUROC of a class that it
left out, are NaN there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxredge.metrics.classification import Floats, Interval, Ints

Bools = npt.NDArray[np.bool_]

RESAMPLES = 1000
_BLOCK = 2_000_000
"""Weights held at a time: 16 MB, independent of the number of images."""


def bootstrap(
    statistic: Callable[[Ints], float],
    patients: Sequence[str],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return the 95% percentile interval of a statistic over resampled patients.

    Args:
        statistic: Maps an int array of image indices (with repeats) to a number; NaN is left out.
        patients: The patient of each image.
        resamples: Number of draws.
        seed: Random seed; the draws are those of :func:`patient_weights` with the same seed.

    Returns:
        Lower and upper bound; NaN twice if the statistic is never defined.
    """
    patient_of, count = _number(patients)
    images_of = [np.flatnonzero(patient_of == number) for number in range(count)]
    rng = np.random.default_rng(seed)
    values = np.array(
        [
            statistic(np.concatenate([images_of[patient] for patient in drawn]))
            for drawn in rng.integers(count, size=(resamples, count))
        ]
    )
    return percentile_interval(values) or (math.nan, math.nan)


def patient_weights(
    patients: Sequence[str], resamples: int = RESAMPLES, seed: int = 0
) -> Iterator[npt.NDArray[np.float64]]:
    """Yield how often each image is drawn, in blocks of draws.

    Args:
        patients: The patient of each image.
        resamples: Number of draws in total.
        seed: Random seed; the draws are those of :func:`bootstrap` with the same seed.

    Yields:
        float (draws, images), integral values.
    """
    patient_of, count = _number(patients)
    rng = np.random.default_rng(seed)
    at_once = max(1, _BLOCK // len(patient_of))
    for start in range(0, resamples, at_once):
        draws = min(at_once, resamples - start)
        drawn = rng.integers(count, size=(draws, count))
        flat = (drawn + count * np.arange(draws)[:, None]).ravel()
        counts = np.bincount(flat, minlength=draws * count).reshape(draws, count)
        yield counts[:, patient_of].astype(np.float64)


def _number(patients: Sequence[str]) -> tuple[Ints, int]:
    """Number the patients: int (images,), the patient of each image, and the number of patients."""
    names, patient_of = np.unique(np.asarray(patients), return_inverse=True)
    return patient_of, len(names)


def percentile_interval(values: Floats) -> Interval | None:
    """Return the 95% percentile interval of a statistic's draws; None if it is never defined."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return (float(low), float(high))


def weighted_mean(values: Any, weights: Floats) -> npt.NDArray[np.float64]:
    """Return the mean of ``values``, (images,) or (images, k), for each draw."""
    total = weights.sum(axis=1)
    result: npt.NDArray[np.float64] = (weights @ values) / (
        total if np.ndim(values) == 1 else total[:, None]
    )
    return result


def weighted_auroc(scores: Floats, positive: Bools, weights: Floats) -> npt.NDArray[np.float64]:
    """Return the area under the ROC curve for each draw, ties counted half.

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
    """Return the sensitivity of each class for each draw.

    Args:
        called: bool (images, classes), true where the class is predicted.
        positive: bool (images, classes).
        weights: float (draws, images).

    Returns:
        float (draws, classes); NaN where a draw has no positives.
    """
    return _ratio(weights @ (called & positive), weights @ positive)


def weighted_calibration_error(
    confidence: Floats, right: Bools, weights: Floats, bins: int = 10
) -> npt.NDArray[np.float64]:
    """Return the expected calibration error for each draw, bins of equal width.

    The error is the sum over bins of ``|sum of weight * (right - confidence)|`` over the total
    weight, which is
    :func:`cxredge.metrics.classification.expected_calibration_error` with the division by the
    bin's count cancelled.

    Args:
        confidence: float (images,), the top probability.
        right: bool (images,), true where the top class is the label.
        weights: float (draws, images).
        bins: Number of bins.
    """
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.zeros((len(confidence), bins))
    gaps[np.arange(len(confidence)), index] = right - confidence
    error: npt.NDArray[np.float64] = np.abs(weighted_mean(gaps, weights)).sum(axis=1)
    return error


def mean_defined(values: Floats) -> npt.NDArray[np.float64]:
    """Return the mean of each row (draws, k) over values that are not NaN; NaN if all are."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0).sum(axis=1), defined.sum(axis=1))


def one_hot(labels: Ints, classes: int) -> Bools:
    """Return bool (images, classes), true at each image's label."""
    result: Bools = np.asarray(labels)[:, None] == np.arange(classes)
    return result


def _ratio(parts: Any, wholes: Any) -> npt.NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        result: npt.NDArray[np.float64] = np.asarray(parts, np.float64) / wholes
    return result
