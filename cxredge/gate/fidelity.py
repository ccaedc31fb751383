"""Fidelity to FP32: every measure of both precisions on the same images, with its difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from cxredge.gate.thresholds import Drift, Validation, measure_drift
from cxredge.metrics import classification as metrics
from cxredge.metrics.bootstrap import (
    mean_defined,
    one_hot,
    patient_weights,
    percentile_interval,
    weighted_auroc,
    weighted_calibration_error,
    weighted_mean,
    weighted_sensitivity,
)
from cxredge.metrics.number_types import Count, NonNegative, Share


class Measure(str, Enum):
    """A measure that is compared."""

    ACCURACY = "accuracy"
    AGREEMENT = "agreement"
    AUROC = "auroc"
    SENSITIVITY = "sensitivity"
    CALIBRATION_ERROR = "calibration_error"
    LOGIT_ERROR = "logit_error"
    REFUSAL_AGREEMENT = "refusal_agreement"
    CONTROL_RATE = "control_rate"


@dataclass(frozen=True)
class Paired:
    """Logits of both precisions on held-out images.

    Attributes:
        reference: float (N, classes), logits of FP32.
        candidate: float (N, classes), logits of the candidate.
        labels: int (N,).
        patients: The patient of each image; intervals resample patients.
        classes: Class names.
    """

    reference: metrics.Floats
    candidate: metrics.Floats
    labels: metrics.Ints
    patients: Sequence[str]
    classes: Sequence[str]


@dataclass(frozen=True)
class Deviation:
    """One measure in both precisions.

    Attributes:
        measure: The measure. FP32 agrees with itself and has no logit error.
        class_name: The class; of controls, their kind; None for all images or the mean of the
            classes.
        patients: Number of patients that contribute: all, or those with an image of the class (for
            AUROC, those without one if they are fewer).
        fp32: Value of FP32; None if it is not defined.
        candidate: Value of the candidate.
        difference: Candidate minus FP32.
        ci95: Paired bootstrap interval of the difference, over patients.
    """

    measure: Measure
    class_name: str | None
    patients: Count
    fp32: NonNegative | None
    candidate: NonNegative | None
    difference: float | None
    ci95: metrics.Interval | None


@dataclass(frozen=True)
class Flip:
    """An image whose decision changed.

    Attributes:
        index: Index among the images compared, from 0.
        label: Its true class.
        fp32: FP32's decision.
        now: The candidate's decision.
        probability_fp32: FP32's probability of its own decision.
        probability_now: The candidate's probability of its own decision.
    """

    index: Count
    label: str
    fp32: str
    now: str
    probability_fp32: Share
    probability_now: Share


@dataclass(frozen=True)
class Fidelity:
    """Result of a comparison on the same images.

    Attributes:
        images: Number of images.
        patients: Number of patients.
        deviations: Every measure; that of all images comes before those of the classes.
        agreement_ci95: Wilson interval of the agreement, which holds even if few or no images
            differ.
        thresholds: Operating thresholds with their drift; empty without validation images.
        flipped: The images whose decision changed.
    """

    images: int
    patients: int
    deviations: tuple[Deviation, ...]
    agreement_ci95: metrics.Interval
    thresholds: tuple[Drift, ...]
    flipped: tuple[Flip, ...]


def measure_fidelity(pair: Paired, validation: Validation | None) -> Fidelity:
    """Measure a candidate against FP32.

    Args:
        pair: The held-out images.
        validation: Images for the operating thresholds; without them no sensitivity is measured.
    """
    drift: tuple[Drift, ...] = ()
    if validation is not None:
        drift = measure_drift(pair.reference, pair.candidate, pair.labels, pair.classes, validation)
    same = int((pair.reference.argmax(1) == pair.candidate.argmax(1)).sum())
    return Fidelity(
        images=len(pair.labels),
        patients=len(set(pair.patients)),
        deviations=_deviations(pair, drift),
        agreement_ci95=metrics.wilson(same, len(pair.labels)),
        thresholds=drift,
        flipped=_flipped(pair),
    )


def _deviations(pair: Paired, drift: Sequence[Drift]) -> tuple[Deviation, ...]:
    fp32 = np.array([row.fp32 for row in drift]) if drift else None
    own = np.array([row.candidate for row in drift]) if drift else None

    def both(weights: metrics.Floats) -> tuple[metrics.Floats, metrics.Floats]:
        reference = _statistics(pair, pair.reference, fp32, weights)
        return reference, _statistics(pair, pair.candidate, own, weights)

    before, after = (values[0] for values in both(np.ones((1, len(pair.labels)))))
    draws = [after - before for before, after in map(both, patient_weights(pair.patients))]
    return tuple(
        Deviation(
            measure,
            name,
            _patients(pair, measure, name),
            _number(before[column]),
            _number(after[column]),
            _number(after[column] - before[column]),
            change_interval(drawn),
        )
        for column, ((measure, name), drawn) in enumerate(
            zip(_columns(pair.classes, bool(drift)), np.vstack(draws).T, strict=True)
        )
    )


def change_interval(drawn: metrics.Floats) -> metrics.Interval | None:
    """Return the interval rounded to 1e-6: rounding errors of the sums are below that."""
    interval = percentile_interval(drawn)
    return interval and (round(interval[0], 6), round(interval[1], 6))


def _columns(classes: Sequence[str], with_sensitivity: bool) -> list[tuple[Measure, str | None]]:
    """Name the columns of :func:`_statistics`."""
    each = (None, *classes)
    return [
        (Measure.ACCURACY, None),
        (Measure.AGREEMENT, None),
        *((Measure.AUROC, name) for name in each),
        *((Measure.SENSITIVITY, name) for name in each if with_sensitivity),
        (Measure.CALIBRATION_ERROR, None),
        (Measure.LOGIT_ERROR, None),
    ]


def _statistics(
    pair: Paired,
    logits: metrics.Floats,
    thresholds: metrics.Floats | None,
    weights: metrics.Floats,
) -> metrics.Floats:
    """Return every measure of one precision for each draw: float (draws, columns)."""
    probabilities, decisions = metrics.softmax(logits), logits.argmax(axis=1)
    right = decisions == pair.labels
    positive = one_hot(pair.labels, len(pair.classes))
    areas = [
        weighted_auroc(p, t, weights) for p, t in zip(probabilities.T, positive.T, strict=True)
    ]
    by_class = [np.column_stack(areas)]
    if thresholds is not None:
        by_class.append(weighted_sensitivity(probabilities >= thresholds, positive, weights))
    squares = ((logits - pair.reference) ** 2).mean(axis=1), (pair.reference**2).mean(axis=1)
    error, size = (weighted_mean(values.astype(np.float64), weights) for values in squares)
    columns = [
        weighted_mean(right, weights),
        weighted_mean(decisions == pair.reference.argmax(axis=1), weights),
        *(column for values in by_class for column in (mean_defined(values), *values.T)),
        weighted_calibration_error(probabilities.max(axis=1), right, weights),
        np.sqrt(error / np.maximum(size, np.finfo(np.float64).tiny)),
    ]
    return np.column_stack(columns)


def _flipped(pair: Paired) -> tuple[Flip, ...]:
    before, after = pair.reference.argmax(axis=1), pair.candidate.argmax(axis=1)
    sure, now_sure = (metrics.softmax(x).max(axis=1) for x in (pair.reference, pair.candidate))
    return tuple(
        Flip(
            index=int(i),
            label=pair.classes[pair.labels[i]],
            fp32=pair.classes[before[i]],
            now=pair.classes[after[i]],
            probability_fp32=round(float(sure[i]), 4),
            probability_now=round(float(now_sure[i]), 4),
        )
        for i in np.flatnonzero(before != after)
    )


def _patients(pair: Paired, measure: Measure, class_name: str | None) -> int:
    if class_name is None:
        return len(set(pair.patients))
    patients = np.asarray(pair.patients)
    positive = pair.labels == list(pair.classes).index(class_name)
    bearing = [positive, ~positive] if measure is Measure.AUROC else [positive]
    return min(len(set(patients[chosen])) for chosen in bearing)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
