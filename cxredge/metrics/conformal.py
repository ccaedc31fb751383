"""Prediction sets: the classes that cannot be excluded, by split conformal prediction.

Every class has its own level, derived from validation images of that class alone, so that the
coverage holds for each class and not only on average (Vovk 2012, "Conditional Validity of Inductive
Conformal Predictors"). The score of a class is the total probability of the classes down to it,
from the most probable one (Romano, Sesia and Candes 2020, "Classification with Valid and Adaptive
Coverage").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from cxredge.metrics.classification import Floats, Ints


def scores(probabilities: Floats) -> Floats:
    """Return the conformal score of each class, float (N, classes), of probabilities as shaped."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    cumulated = np.take_along_axis(probabilities, order, axis=1).cumsum(axis=1)
    found = np.empty_like(probabilities, dtype=np.float64)
    np.put_along_axis(found, order, cumulated, axis=1)
    return np.minimum(found, 1.0)


def set_levels(
    probabilities: Floats, labels: Ints, patients: Sequence[str], coverage: float
) -> list[float]:
    """Return the level of each class: the largest score of a class in the set.

    Args:
        probabilities: float (N, classes) of validation images.
        labels: int (N,).
        patients: The patient of each image. Each patient counts once, with the largest score of its
            images, as images of one patient are not independent.
        coverage: Share of images whose set contains their class.
    """
    of_label = np.take_along_axis(scores(probabilities), labels[:, None], axis=1)[:, 0]
    levels = []
    for label in range(probabilities.shape[1]):
        by_patient: dict[str, float] = {}
        for index in np.flatnonzero(labels == label):
            score = float(of_label[index])
            patient = patients[int(index)]
            by_patient[patient] = max(score, by_patient.get(patient, 0.0))
        ordered = sorted(by_patient.values())
        rank = math.ceil((len(ordered) + 1) * coverage)
        levels.append(ordered[rank - 1] if rank <= len(ordered) else 1.0)
    return levels


def prediction_set(
    probabilities: Mapping[str, float], levels: Mapping[str, float]
) -> tuple[str, ...]:
    """Return the classes in the set of one image; empty without levels.

    The most probable class is always in it.
    """
    if not levels:
        return ()
    values = np.array([list(probabilities.values())])
    found = dict(zip(probabilities, scores(values)[0].tolist(), strict=True))
    most = max(probabilities, key=lambda name: probabilities[name])
    return tuple(name for name in probabilities if name == most or found[name] <= levels[name])
