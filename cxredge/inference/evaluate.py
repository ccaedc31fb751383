"""Evaluation of a bundle on labelled images, and its differences from FP32."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxredge.artifacts.card import CARD_NAME
from cxredge.artifacts.hashing import sha256_of_file
from cxredge.artifacts.training_images import read_training_images
from cxredge.backends.batched import run_all
from cxredge.bundle.bundle import Bundle, note_if_strange
from cxredge.data.audit_record import evaluation_warnings
from cxredge.data.loading import load_labelled
from cxredge.data.manifest import Manifest, check_labels
from cxredge.data.pseudonyms import patient_key as find_key
from cxredge.data.seen_images import count_seen, seen_warnings
from cxredge.inference.controls import (
    called,
    called_by_fp32,
    load_controls,
    seen_control_warnings,
    seen_images,
)
from cxredge.inference.coverage import measure_coverage
from cxredge.inference.groups import answered, by_group, called_by_source, within_sources
from cxredge.inference.map_evidence import border_evidence, map_fidelity
from cxredge.metrics import classification as metrics
from cxredge.metrics.bootstrap import bootstrap
from cxredge.metrics.classification import Floats, Ints
from cxredge.progress import Progress
from cxredge.results.evaluation import (
    ChangedDecision,
    ClassMetrics,
    Evaluation,
    Interval,
    PartialInterval,
    RocCurve,
)
from cxredge.vocabulary import Precision, Split


def evaluate(
    bundle: Bundle,
    manifest: Manifest,
    split: Split,
    progress: Progress,
    patient_key: Path | None = None,
) -> Evaluation:
    """Evaluate a bundle on one split of a manifest.

    Args:
        bundle: The bundle.
        manifest: Labelled images.
        split: The split.
        progress: Progress listener.
        patient_key: File with the key of the patients' hashes; None for this user's own.

    Raises:
        CxredgeError: An image cannot be read, or a label is unknown to the model.
    """
    classes = bundle.card.classifier.classes
    check_labels(manifest, classes)
    note_if_strange(bundle, progress)
    entries = manifest.of(split)
    images = load_labelled(entries, classes, bundle.card.classifier.input_size, progress)
    training = read_training_images(bundle.path, bundle.card)
    key = find_key(patient_key)
    seen = count_seen(training, manifest, split, images.pixels, key) if training else None
    labels, patients = images.labels, images.patients
    others = load_controls(manifest, bundle.card.classifier.input_size, progress)
    with bundle.open() as session:
        outputs = run_all(session, images.pixels)
        cascade = session.cascade
        of_controls = run_all(session, others) if len(others) else None
    with bundle.open(Precision.FP32) as session:
        fp32 = run_all(session, images.pixels)
        of_controls_fp32 = run_all(session, others) if len(others) else None
    probabilities, reference = metrics.softmax(outputs.logits), metrics.softmax(fp32.logits)
    found = seen_images(bundle, entries, labels, outputs, fp32)
    controls = None
    if of_controls and of_controls_fp32:
        controls = seen_images(bundle, manifest.controls, None, of_controls, of_controls_fp32)
    right = _right(probabilities, labels)
    same = int((probabilities.argmax(1) == reference.argmax(1)).sum())
    change = right * 1.0 - _right(reference, labels)
    macro_f1, macro_f1_ci95 = _estimate(metrics.macro_f1, probabilities, labels, patients)
    auroc, auroc_ci95 = _estimate(metrics.macro_auroc, probabilities, labels, patients)
    calibration, calibration_ci95 = _estimate(
        metrics.expected_calibration_error, probabilities, labels, patients
    )
    by_class = _by_class(classes, bundle.thresholds, probabilities, labels, patients)
    return Evaluation(
        bundle_sha256=sha256_of_file(bundle.path / CARD_NAME),
        manifest_sha256=manifest.sha256,
        network=bundle.card.classifier.network,
        precision=bundle.precision,
        backend=bundle.backend,
        cascade=cascade,
        split=split,
        images=len(entries),
        patients=len(set(patients)),
        classes=tuple(classes),
        accuracy=int(right.sum()) / len(labels),
        accuracy_ci95=metrics.wilson(int(right.sum()), len(labels)),
        macro_f1=macro_f1,
        macro_f1_ci95=macro_f1_ci95,
        auroc=auroc,
        auroc_ci95=auroc_ci95,
        calibration_error=calibration,
        calibration_error_ci95=calibration_ci95,
        by_class=by_class,
        sensitivity={name: row.sensitivity for name, row in by_class.items()},
        confusion=tuple(map(tuple, metrics.confusion(probabilities, labels).tolist())),
        agreement_fp32=same / len(labels),
        agreement_fp32_ci95=metrics.wilson(same, len(labels)),
        accuracy_fp32=metrics.accuracy(reference, labels),
        accuracy_difference_fp32=float(change.mean()),
        accuracy_difference_fp32_ci95=_finite_bounds(
            bootstrap(lambda drawn: float(change[drawn].mean()), patients)
        ),
        flipped=_changed_decisions(images.labels, classes, reference, probabilities),
        reliability=tuple(metrics.reliability(probabilities, labels)),
        roc=_roc(classes, probabilities, labels),
        images_without_patient=sum(not entry.patient_known for entry in entries),
        seen=seen,
        warnings=(
            *seen_warnings(seen),
            *seen_control_warnings(training, manifest, others, key),
            *evaluation_warnings(manifest),
        ),
        answered=answered(found, classes),
        by=by_group(found, classes),
        called_by_source=called_by_source(found, classes),
        auroc_within_source=within_sources(found, controls, classes),
        controls=called(manifest, controls, classes),
        controls_fp32=called_by_fp32(manifest, of_controls_fp32, controls, classes),
        coverage=measure_coverage(bundle, outputs, labels),
        border_evidence=border_evidence(bundle, entries, outputs),
        heatmaps_fp32=map_fidelity(fp32, outputs),
    )


def _right(probabilities: Floats, labels: Ints) -> np.ndarray:
    """Return whether the top class of each image is its label, bool (N,)."""
    found: np.ndarray = probabilities.argmax(1) == labels
    return found


def _estimate(
    metric: Callable[[Floats, Any], float], scores: Floats, truth: Any, patients: Sequence[str]
) -> tuple[float | None, PartialInterval]:
    """Return a metric and its 95% interval of a bootstrap over patients; None where undefined."""
    value = metric(scores, truth)
    interval = bootstrap(lambda drawn: metric(scores[drawn], truth[drawn]), patients)
    return None if math.isnan(value) else value, _finite_bounds(interval)


def _finite_bounds(interval: Interval) -> PartialInterval:
    low, high = (None if math.isnan(bound) else bound for bound in interval)
    return (low, high)


def _by_class(
    classes: Sequence[str],
    thresholds: Mapping[str, float],
    probabilities: Floats,
    labels: Ints,
    patients: Sequence[str],
) -> dict[str, ClassMetrics]:
    by_class = {}
    for index, name in enumerate(classes):
        positive = labels == index
        scores = probabilities[:, index]
        called = scores >= thresholds[name]
        positives, negatives = int(positive.sum()), int((~positive).sum())
        top = int((probabilities.argmax(1)[positive] == index).sum())
        auroc, auroc_ci95 = _estimate(metrics.auroc, scores, positive, patients)
        sensitivity, sensitivity_ci95 = _share(int((called & positive).sum()), positives)
        specificity, specificity_ci95 = _share(int((~called & ~positive).sum()), negatives)
        recall, recall_ci95 = _share(top, positives)
        by_class[name] = ClassMetrics(
            images=positives,
            threshold=thresholds[name],
            auroc=auroc,
            auroc_ci95=auroc_ci95,
            sensitivity=sensitivity,
            sensitivity_ci95=sensitivity_ci95,
            specificity=specificity,
            specificity_ci95=specificity_ci95,
            recall=recall,
            recall_ci95=recall_ci95,
        )
    return by_class


def _share(hits: int, total: int) -> tuple[float | None, Interval | None]:
    """Return a share with Wilson's interval; None without images."""
    return (hits / total, metrics.wilson(hits, total)) if total else (None, None)


def _changed_decisions(
    labels: Ints, classes: Sequence[str], reference: Floats, probabilities: Floats
) -> tuple[ChangedDecision, ...]:
    return tuple(
        ChangedDecision(
            index=index,
            label=classes[int(label)],
            fp32=classes[int(before.argmax())],
            now=classes[int(after.argmax())],
            probability_fp32=round(float(before.max()), 4),
            probability_now=round(float(after.max()), 4),
        )
        for index, (label, before, after) in enumerate(
            zip(labels, reference, probabilities, strict=True)
        )
        if before.argmax() != after.argmax()
    )


def _roc(classes: Sequence[str], probabilities: Floats, labels: Ints) -> dict[str, RocCurve]:
    curves = {}
    for index in np.unique(labels):
        false, true = metrics.roc_curve(probabilities[:, index], labels == index)
        curves[classes[index]] = RocCurve(
            false_positive_rate=tuple(round(float(rate), 4) for rate in false),
            true_positive_rate=tuple(round(float(rate), 4) for rate in true),
        )
    return curves
