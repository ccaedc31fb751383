"""How right the session is that was timed: a fast engine that answers wrongly is of no use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cxredge.artifacts.records import to_json
from cxredge.backends.base import Session
from cxredge.backends.batched import infer_all
from cxredge.bundle.bundle import Bundle, read_golden
from cxredge.bundle.replay import compare_with_golden
from cxredge.data.audit_record import evaluation_warnings
from cxredge.data.loading import load_labelled
from cxredge.data.manifest import Manifest, check_labels
from cxredge.metrics.classification import wilson
from cxredge.progress import Progress
from cxredge.vocabulary import Precision, Split


@dataclass(frozen=True)
class Labelled:
    """The labelled images that a session is judged on."""

    manifest: Manifest
    split: Split


def measure_accuracy(
    session: Session, bundle: Bundle, labelled: Labelled | None, progress: Progress
) -> dict[str, Any]:
    """Judge the answers of a session.

    Args:
        session: The one that was timed.
        bundle: What it was opened from.
        labelled: Images with their classes; without them the golden images alone are replayed.
        progress: Hears of images decoded.

    Returns:
        A JSON value: ``golden``, with the agreement with FP32's classes and whether the outputs
        are those of where the bundle was built; and with labelled images ``accuracy`` with
        Wilson's 95% interval, else None.

    Raises:
        CxredgeError: An image cannot be read or a label is unknown to the model.
    """
    golden = read_golden(bundle)
    # The golden outputs are of the engine alone, without FP32 for its near ties.
    replay, logits = compare_with_golden(session.primary, bundle, bundle.precision, golden)
    same = logits.argmax(axis=1) == golden.logits[Precision.FP32].argmax(axis=1)
    found: dict[str, Any] = {
        "golden": {
            **to_json(replay),
            "agreement_fp32": float(same.mean()),
            "agreement_fp32_ci95": list(wilson(int(same.sum()), len(same))),
        },
        "accuracy": None,
    }
    return found if labelled is None else found | _on_labelled(session, bundle, labelled, progress)


def _on_labelled(
    session: Session, bundle: Bundle, labelled: Labelled, progress: Progress
) -> dict[str, Any]:
    classes = bundle.card.classifier.classes
    check_labels(labelled.manifest, classes)
    entries = labelled.manifest.of(labelled.split)
    images = load_labelled(entries, classes, session.spec.size, progress)
    right = int(np.sum(infer_all(session, images.pixels).argmax(axis=1) == images.labels))
    return {
        "accuracy": right / len(entries),
        "accuracy_ci95": list(wilson(right, len(entries))),
        "images": len(entries),
        "patients": len(set(images.patients)),
        "split": labelled.split.value,
        "manifest_sha256": labelled.manifest.sha256,
        "warnings": evaluation_warnings(labelled.manifest),
    }
