"""Prediction sets of an evaluation: how often they contain the class, and their size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cxredge.backends.base import Outputs
from cxredge.bundle.bundle import Bundle
from cxredge.inference.answers import refused_images
from cxredge.metrics.classification import Floats, Ints, softmax, wilson
from cxredge.metrics.conformal import Sets, prediction_sets
from cxredge.results.coverage import SetCounts, SetCoverage
from cxredge.vocabulary import Precision


def measure_coverage(bundle: Bundle, outputs: Outputs, labels: Ints) -> SetCoverage | None:
    """Return coverage and size of the prediction sets of the images that are answered.

    Args:
        bundle: The bundle that computed the outputs.
        outputs: Outputs of N images.
        labels: int (N,).

    Returns:
        None if the bundle has no prediction sets.
    """
    classes, target = bundle.card.classifier.classes, bundle.card.config.set_coverage
    levels = _levels(bundle, outputs)
    if levels is None or target is None:
        return None
    refused = refused_images(bundle, outputs)
    answered = np.ones(len(labels), np.bool_) if refused is None else ~refused
    sets = prediction_sets(softmax(outputs.logits), levels)[answered]
    kept = labels[answered]
    by_class = {
        name: SetCounts(**_counts(sets[kept == index], kept[kept == index]))
        for index, name in enumerate(classes)
    }
    return SetCoverage(target=target, by_class=by_class, **_counts(sets, kept))


def _levels(bundle: Bundle, outputs: Outputs) -> Floats | None:
    """Return the levels of each image, float (N, classes); FP32's for near ties of a cascade."""
    classes = bundle.card.classifier.classes
    own, fp32 = (bundle.operating_point(p).set_levels for p in (None, Precision.FP32))
    if not own or not fp32:
        return None
    rows = [np.array([levels[name] for name in classes]) for levels in (own, fp32)]
    by_fp32 = outputs.decided_by_fp32
    if by_fp32 is None:
        by_fp32 = np.zeros(len(outputs.logits), np.bool_)
    found: Floats = np.where(by_fp32[:, None], rows[1], rows[0])
    return found


def _counts(sets: Sets, labels: Ints) -> Mapping[str, Any]:
    images, sizes = len(labels), sets.sum(axis=1)
    covered = int(np.take_along_axis(sets, labels[:, None], axis=1).sum()) if images else 0
    single = int((sizes == 1).sum())
    return {
        "images": images,
        "covered": covered,
        "single": single,
        "classes_in_sets": int(sizes.sum()),
        "coverage": covered / images if images else None,
        "coverage_ci95": wilson(covered, images) if images else None,
        "single_share": single / images if images else None,
        "single_share_ci95": wilson(single, images) if images else None,
        "mean_size": float(sizes.mean()) if images else None,
    }
