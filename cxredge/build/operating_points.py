"""Operating points of the candidates, derived on validation images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from cxredge.build.config import BuildConfig
from cxredge.build.held_out import SplitOutputs
from cxredge.build.speed import Variant
from cxredge.bundle.operating_point import OperatingPoint
from cxredge.data.manifest import Manifest
from cxredge.gate.gate import GateResult
from cxredge.metrics.classification import softmax
from cxredge.metrics.conformal import patients_needed, set_levels
from cxredge.metrics.distance_limit import DistanceLimit, fit_limit, match_limit
from cxredge.vocabulary import Split


def operating_point(
    variant: Variant,
    validation: SplitOutputs,
    gate: GateResult,
    limit: DistanceLimit | None,
    set_coverage: float,
    classes: Sequence[str],
) -> OperatingPoint:
    """Return the limits of a candidate.

    Args:
        variant: The candidate.
        validation: Outputs for the validation images.
        gate: Its comparison with FP32, which holds its operating thresholds.
        limit: Its limit of distances; None if it measures none.
        set_coverage: Share of images whose prediction set contains their class.
        classes: Names of the classes.
    """
    outputs, images = validation.outputs[variant], validation.images
    levels = set_levels(softmax(outputs.logits), images.labels, images.patients, set_coverage)
    thresholds = {row.class_name: row.candidate for row in gate.thresholds}
    found = OperatingPoint(thresholds, set_levels=dict(zip(classes, levels, strict=True)))
    if limit is None:
        return found
    return replace(found, max_distance=limit.max_distance, distance_shift=limit.shift)


def distance_limits(
    validation: SplitOutputs, config: BuildConfig
) -> dict[Variant, DistanceLimit | None]:
    """Return the limit of distances by variant; None if a variant measures none."""
    share, reference = config.familiar_share, validation.reference.distances
    if share is None or reference is None:
        return dict.fromkeys(validation.outputs)
    limit = fit_limit(reference, share)
    return {
        variant: None
        if outputs.distances is None
        else match_limit(limit, reference, outputs.distances)
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
