"""Prediction sets: the classes that cannot be excluded, by split conformal prediction.

Every class has its own level, derived from validation images of that class alone, so that the
coverage holds for each class and not only on average (Vovk 2012, "Conditional Validity of Inductive
Conformal Predictors"). The score of a class is the total probability of the classes that are more
probable (Romano, Sesia and Candes 2020, "Classification with Valid and Adaptive Coverage", without
the class itself and without chance). It is 0 for the most probable class, which is therefore always
in the set.

The guarantee: the set of an X-ray of a *new patient* of a class contains that class with at least
the coverage, if the patient is exchangeable with the validation patients of the class. A level that
is the k-th smallest score of n patients covers k / (n + 1) in expectation, so that n patients can
only guarantee n / (n + 1): a coverage of 90% requires nine patients of each class.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cxredge.metrics.classification import Floats, Ints

Sets = npt.NDArray[np.bool_]
"""bool (N, classes): whether a class is in the prediction set of an image."""

_ROUNDING = 1e-9


def scores(probabilities: Floats) -> Floats:
    """Return the conformal score of each class, float (N, classes), of probabilities as shaped."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ordered = np.take_along_axis(probabilities, order, axis=1).astype(np.float64)
    above = np.zeros_like(ordered)
    above[:, 1:] = ordered.cumsum(axis=1)[:, :-1]
    found = np.empty_like(ordered)
    np.put_along_axis(found, order, np.minimum(above, 1.0), axis=1)
    return found


def patients_needed(coverage: float) -> int:
    """Return the number of patients of a class that a coverage requires for its guarantee."""
    return math.ceil(coverage / (1 - coverage) - _ROUNDING)


def set_levels(
    probabilities: Floats, labels: Ints, patients: Sequence[str], coverage: float
) -> list[float]:
    """Return the level of each class: the largest score of a class in the set.

    Args:
        probabilities: float (N, classes) of validation images.
        labels: int (N,).
        patients: The patient of each image.
        coverage: Share of images whose set contains their class.

    Returns:
        Levels in [0, 1]; at 1, a class is in every set.
    """
    return levels_of(scores(probabilities), labels, patients, coverage)


def levels_of(
    of_classes: Floats, labels: Ints, patients: Sequence[str], coverage: float
) -> list[float]:
    """Return the level of each class, for any score between 0 and 1.

    A class with fewer patients than the guarantee requires takes the largest of the levels of the
    other classes, of the level of all patients together, and of the scores of its own images.

    Args:
        of_classes: float (N, classes), scores of validation images.
        labels: int (N,).
        patients: The patient of each image. Each patient counts once, with the largest score of its
            images, as images of one patient are not independent.
        coverage: Share of images whose set contains their class.
    """
    of_label = np.take_along_axis(of_classes, labels[:, None], axis=1)[:, 0]
    by_class: list[dict[str, float]] = [{} for _ in range(of_classes.shape[1])]
    for label, patient, score in zip(labels.tolist(), patients, of_label.tolist(), strict=True):
        known = by_class[label]
        known[patient] = max(score, known.get(patient, 0.0))
    own = [_level(list(found.values()), coverage) for found in by_class]
    if None not in own:
        return [level for level in own if level is not None]
    everyone = _level([score for found in by_class for score in found.values()], coverage)
    others = max([level for level in own if level is not None], default=0.0)
    common = 1.0 if everyone is None else max(everyone, others)
    return [
        max(common, *found.values(), 0.0) if level is None else level
        for level, found in zip(own, by_class, strict=True)
    ]


def prediction_sets(probabilities: Floats, levels: Floats) -> Sets:
    """Return the sets of images.

    Args:
        probabilities: float (N, classes).
        levels: float (classes,) or (N, classes).
    """
    found: Sets = scores(probabilities) <= levels
    return found


def prediction_set(
    probabilities: Mapping[str, float], levels: Mapping[str, float]
) -> tuple[str, ...]:
    """Return the classes in the set of one image; empty without levels."""
    if not levels:
        return ()
    values = np.array([list(probabilities.values())])
    chosen = prediction_sets(values, np.array([levels[name] for name in probabilities]))[0]
    return tuple(name for name, inside in zip(probabilities, chosen, strict=True) if inside)


def _level(scores_of_patients: Sequence[float], coverage: float) -> float | None:
    """Return the level that covers new patients; None if these are too few for any."""
    rank = math.ceil((len(scores_of_patients) + 1) * coverage - _ROUNDING)
    return sorted(scores_of_patients)[rank - 1] if rank <= len(scores_of_patients) else None
