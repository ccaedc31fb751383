"""Operating thresholds of each precision, and their drift from FP32's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxredge.metrics import classification as metrics
from cxredge.metrics.number_types import Share, Threshold


@dataclass(frozen=True)
class Validation:
    """Logits of both precisions on validation images; thresholds are derived from them.

    Attributes:
        reference: float (n, classes), logits of FP32.
        candidate: float (n, classes), logits of the candidate.
        labels: int (n,).
        specificity: Specificity that each threshold must reach on these images, in [0, 1].
    """

    reference: metrics.Floats
    candidate: metrics.Floats
    labels: metrics.Ints
    specificity: float


@dataclass(frozen=True)
class Drift:
    """Threshold of one class in both precisions, and its rates on held-out images.

    Rates are None if there are no images to count.

    Attributes:
        class_name: The class.
        fp32: FP32's threshold, a probability.
        candidate: The candidate's own threshold, derived on the same validation images.
        drift: Candidate minus FP32.
        sensitivity_fp32: Sensitivity of FP32 at its threshold.
        sensitivity: Sensitivity of the candidate at its own threshold.
        sensitivity_kept: Sensitivity of the candidate at FP32's threshold.
        specificity_fp32: Specificity of FP32 at its threshold.
        specificity: Specificity of the candidate at its own threshold.
        specificity_kept: Specificity of the candidate at FP32's threshold.
    """

    class_name: str
    fp32: Threshold
    candidate: Threshold
    drift: float
    sensitivity_fp32: Share | None
    sensitivity: Share | None
    sensitivity_kept: Share | None
    specificity_fp32: Share | None
    specificity: Share | None
    specificity_kept: Share | None


def operating_thresholds(
    logits: metrics.Floats, labels: metrics.Ints, specificity: float
) -> list[float]:
    """Return for each class the lowest probability that reaches a specificity.

    Args:
        logits: float (n, classes) of validation images.
        labels: int (n,).
        specificity: Share of the other classes' images that must stay below, in [0, 1].
    """
    probabilities = metrics.softmax(logits)
    return [
        metrics.threshold_at_specificity(probabilities[:, c], labels == c, specificity)
        for c in range(probabilities.shape[1])
    ]


def measure_drift(
    reference: metrics.Floats,
    candidate: metrics.Floats,
    labels: metrics.Ints,
    classes: Sequence[str],
    validation: Validation,
) -> tuple[Drift, ...]:
    """Derive both precisions' thresholds on validation images and apply them to held-out ones.

    Args:
        reference: float (n, classes), FP32's logits of the held-out images.
        candidate: float (n, classes), the candidate's.
        labels: int (n,).
        classes: Class names.
        validation: Images for the thresholds.
    """
    own = [
        operating_thresholds(logits, validation.labels, validation.specificity)
        for logits in (validation.reference, validation.candidate)
    ]
    before, after = metrics.softmax(reference), metrics.softmax(candidate)
    return tuple(
        _drift(name, low, high, before[:, c], after[:, c], labels == c)
        for c, (name, low, high) in enumerate(zip(classes, *own, strict=True))
    )


def _drift(
    name: str,
    fp32: float,
    candidate: float,
    before: metrics.Floats,
    after: metrics.Floats,
    positive: np.ndarray,
) -> Drift:
    reference, own = _rates(before >= fp32, positive), _rates(after >= candidate, positive)
    kept = _rates(after >= fp32, positive)
    return Drift(
        name, fp32, candidate, candidate - fp32,
        reference[0], own[0], kept[0], reference[1], own[1], kept[1],
    )  # fmt: skip


def _rates(called: np.ndarray, positive: np.ndarray) -> tuple[float | None, float | None]:
    """Return sensitivity and specificity."""
    return (
        float(called[positive].mean()) if positive.any() else None,
        float((~called[~positive]).mean()) if (~positive).any() else None,
    )
