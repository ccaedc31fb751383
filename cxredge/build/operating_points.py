"""Operating points of the candidates, derived on validation images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from cxredge.backends.base import Distances
from cxredge.build.config import BuildConfig
from cxredge.build.held_out import SplitOutputs
from cxredge.build.speed import Variant
from cxredge.bundle.operating_point import OperatingPoint
from cxredge.data.manifest import Manifest
from cxredge.gate.gate import GateResult
from cxredge.metrics.classification import softmax
from cxredge.metrics.conformal import patients_needed, set_levels
from cxredge.vocabulary import Split


def operating_point(
    variant: Variant,
    validation: SplitOutputs,
    gate: GateResult,
    max_distance: float | None,
    set_coverage: float,
    classes: Sequence[str],
) -> OperatingPoint:
    """Return the limits of a candidate.

    Args:
        variant: The candidate.
        validation: Outputs for the validation images.
        gate: Its comparison with FP32, which holds its operating thresholds.
        max_distance: Largest distance of a familiar image; None if it measures none.
        set_coverage: Share of images whose prediction set contains their class.
        classes: Names of the classes.
    """
    outputs, images = validation.outputs[variant], validation.images
    levels = set_levels(softmax(outputs.logits), images.labels, images.patients, set_coverage)
    thresholds = {row.class_name: row.candidate for row in gate.thresholds}
    return OperatingPoint(thresholds, max_distance, dict(zip(classes, levels, strict=True)))


def max_distances(validation: SplitOutputs, config: BuildConfig) -> dict[Variant, float | None]:
    """Return the largest distance of a familiar image by variant; None if it measures none.

    FP32's is the distance within which the share of the validation images lies. That of another
    variant is FP32's times the median ratio of their distances of the same images: the ratio is
    certain to a few thousandths, whereas a quantile of its own, which one or two images decide,
    would refuse other images than FP32 does.
    """
    share, reference = config.familiar_share, validation.reference.distances
    if share is None or reference is None:
        return dict.fromkeys(validation.outputs)
    limit = _limit(reference, share)
    return {
        variant: None
        if outputs.distances is None
        else limit * _median_ratio(outputs.distances, reference)
        for variant, outputs in validation.outputs.items()
    }


def warn_of_few_patients(manifest: Manifest, coverage: float) -> list[str]:
    """Return a sentence if a class has too few validation patients for its prediction sets."""
    needed, patients = patients_needed(coverage), Counter[str]()
    for label, _ in {(entry.label, entry.patient) for entry in manifest.of(Split.VAL)}:
        patients[label] += 1
    few = [f"{name} ({patients[name]})" for name in manifest.classes if patients[name] < needed]
    if not few:
        return []
    return [
        f"Prediction sets: a coverage of {coverage:.0%} can be guaranteed from {needed} validation "
        f"patients of a class. {', '.join(few)} {'has' if len(few) == 1 else 'have'} fewer and "
        f"{'takes' if len(few) == 1 else 'take'} the most cautious level known."
    ]


def _limit(distances: Distances, share: float) -> float:
    """Return the smallest distance within which a share of the images lies."""
    rank = min(math.ceil(share * len(distances)), len(distances))
    return float(np.sort(distances)[max(rank, 1) - 1])


def _median_ratio(distances: Distances, reference: Distances) -> float:
    """Return the median ratio of the distances of the same images."""
    measured = reference > 0
    return float(np.median(distances[measured] / reference[measured])) if measured.any() else 1.0
