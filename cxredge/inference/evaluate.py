"""How right a bundle is on labelled images, and where it decides otherwise than FP32."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cxredge.artifacts.card import CARD_NAME, sha256_of_file
from cxredge.artifacts.records import to_json
from cxredge.backends.base import Session
from cxredge.backends.batched import infer_all
from cxredge.bundle.bundle import Bundle, note_if_strange
from cxredge.data.audit_record import evaluation_warnings
from cxredge.data.images import GreyImage
from cxredge.data.loading import load_labelled
from cxredge.data.manifest import Manifest, check_labels
from cxredge.metrics import classification as metrics
from cxredge.metrics.bootstrap import bootstrap
from cxredge.progress import Progress
from cxredge.vocabulary import Precision, Split

SCHEMA = "cxredge.evaluation/1"


def evaluate(
    bundle: Bundle, manifest: Manifest, split: Split, progress: Progress
) -> dict[str, Any]:
    """Evaluate the bundle's engine on one split.

    Args:
        bundle: What to evaluate.
        manifest: Labelled images.
        split: Which of them.
        progress: Hears of images done.

    Returns:
        A JSON value: ``accuracy``, ``macro_f1``, ``auroc``, ``sensitivity`` and ``specificity`` at
        the card's thresholds, ``calibration_error``, each with ``ci95``; ``confusion``, the paired
        difference of accuracy from FP32, ``flipped``, and the curves that the report draws;
        ``cascade``: how many near ties FP32 decided, None where the engine decides all.
        Intervals: Wilson for shares of images, a bootstrap over patients for the rest.

    Raises:
        CxredgeError: An image cannot be read or a label is unknown to the model.
    """
    check_labels(manifest, bundle.card.classifier.classes)
    note_if_strange(bundle, progress)
    entries = manifest.of(split)
    classes = bundle.card.classifier.classes
    images = load_labelled(entries, classes, bundle.card.classifier.input_size, progress)
    labels, patients = images.labels, images.patients
    with bundle.open() as session:
        probabilities = _probabilities(session, images.pixels)
        cascade = session.cascade
    with bundle.open(Precision.FP32) as session:
        reference = _probabilities(session, images.pixels)
    same = probabilities.argmax(1) == reference.argmax(1)
    change = (probabilities.argmax(1) == labels) * 1.0 - (reference.argmax(1) == labels)
    return {
        "schema": SCHEMA,
        "bundle_sha256": sha256_of_file(bundle.path / CARD_NAME),
        "manifest_sha256": manifest.sha256,
        "network": bundle.card.classifier.network,
        "precision": bundle.precision.value,
        "backend": bundle.backend,
        "cascade": to_json(cascade),
        "split": split.value,
        "images": len(entries),
        "patients": len(set(patients)),
        "classes": list(classes),
        **_overall(probabilities, labels, patients),
        **_by_class(bundle, probabilities, labels, patients),
        "confusion": metrics.confusion(probabilities, labels).tolist(),
        **_share("agreement_fp32", int(same.sum()), len(same)),
        "accuracy_fp32": metrics.accuracy(reference, labels),
        "accuracy_difference_fp32": float(change.mean()),
        "accuracy_difference_fp32_ci95": list(
            bootstrap(lambda drawn: float(change[drawn].mean()), patients)
        ),
        "flipped": [
            {
                "path": str(entry.path),
                "label": entry.label,
                "fp32": classes[int(before.argmax())],
                "now": classes[int(after.argmax())],
                "probability_fp32": round(float(before.max()), 4),
                "probability_now": round(float(after.max()), 4),
            }
            for entry, before, after in zip(entries, reference, probabilities, strict=True)
            if before.argmax() != after.argmax()
        ],
        "reliability": [vars(row) for row in metrics.reliability(probabilities, labels)],
        "roc": _roc(classes, probabilities, labels),
        "warnings": evaluation_warnings(manifest),
    }


def _probabilities(session: Session, pixels: GreyImage) -> metrics.Floats:
    return metrics.softmax(infer_all(session, pixels))


def _overall(probabilities: np.ndarray, labels: np.ndarray, patients: list[str]) -> dict[str, Any]:
    right = int((probabilities.argmax(1) == labels).sum())
    functions: dict[str, Callable[..., float]] = {
        "macro_f1": metrics.macro_f1,
        "auroc": metrics.macro_auroc,
        "calibration_error": metrics.expected_calibration_error,
    }
    result: dict[str, Any] = {
        "accuracy": right / len(labels),
        "accuracy_ci95": list(metrics.wilson(right, len(labels))),
    }
    for name, function in functions.items():
        result[name] = function(probabilities, labels)
        result[f"{name}_ci95"] = _interval(function, probabilities, labels, patients)
    return result


def _by_class(
    bundle: Bundle, probabilities: np.ndarray, labels: np.ndarray, patients: list[str]
) -> dict[str, Any]:
    by_class = {}
    for index, name in enumerate(bundle.card.classifier.classes):
        positive = labels == index
        scores = probabilities[:, index]
        called = scores >= bundle.thresholds[name]
        hits, correct_rejections = int((called & positive).sum()), int((~called & ~positive).sum())
        area = metrics.auroc(scores, positive)
        interval = _interval(metrics.auroc, scores, positive, patients)
        by_class[name] = {
            "images": int(positive.sum()),
            "threshold": bundle.thresholds[name],
            "auroc": None if math.isnan(area) else area,
            "auroc_ci95": [None if math.isnan(v) else v for v in interval],
            **_share("sensitivity", hits, int(positive.sum())),
            **_share("specificity", correct_rejections, int((~positive).sum())),
            **_share(
                "recall",
                int((probabilities.argmax(1)[positive] == index).sum()),
                int(positive.sum()),
            ),
        }
    return {
        "by_class": by_class,
        "sensitivity": {name: row["sensitivity"] for name, row in by_class.items()},
    }


def _interval(
    function: Callable[[Any, Any], float], scores: metrics.Floats, truth: Any, patients: list[str]
) -> list[float]:
    """Return the 95% interval of ``function(scores, truth)`` when patients are drawn again."""

    def of_draw(drawn: metrics.Ints) -> float:
        return function(scores[drawn], truth[drawn])

    return list(bootstrap(of_draw, patients))


def _share(name: str, hits: int, total: int) -> dict[str, Any]:
    interval = list(metrics.wilson(hits, total)) if total else None
    return {name: hits / total if total else None, f"{name}_ci95": interval}


def _roc(
    classes: tuple[str, ...], probabilities: np.ndarray, labels: np.ndarray
) -> dict[str, dict[str, list[float]]]:
    curves = {}
    for index in np.unique(labels):
        false, true = metrics.roc_curve(probabilities[:, index], labels == index)
        curves[classes[index]] = {
            "false_positive_rate": [round(float(v), 4) for v in false],
            "true_positive_rate": [round(float(v), 4) for v in true],
        }
    return curves
