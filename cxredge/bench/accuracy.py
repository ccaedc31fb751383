"""Accuracy of the session that was timed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxredge.backends.base import Session
from cxredge.backends.batched import infer_all
from cxredge.bundle.bundle import Bundle, read_golden
from cxredge.bundle.replay import compare_with_golden
from cxredge.data.audit_record import evaluation_warnings
from cxredge.data.loading import load_labelled
from cxredge.data.manifest import Manifest, check_labels
from cxredge.metrics.classification import wilson
from cxredge.progress import Progress
from cxredge.results.bench import GoldenReplay, SessionAccuracy
from cxredge.vocabulary import Precision, Split


@dataclass(frozen=True)
class LabelledSplit:
    """A manifest and the split of it that accuracy is measured on."""

    manifest: Manifest
    split: Split


def measure_accuracy(
    session: Session, bundle: Bundle, labelled: LabelledSplit | None, progress: Progress
) -> SessionAccuracy:
    """Replay the golden images, and measure the accuracy on labelled images if given.

    Args:
        session: The session that was timed.
        bundle: The bundle that it was opened from.
        labelled: Labelled images; None to replay the golden images only.
        progress: Progress listener.

    Raises:
        CxredgeError: An image cannot be read, or a label is unknown to the model.
    """
    golden = _replay_golden(session, bundle)
    if labelled is None:
        return SessionAccuracy(golden=golden)
    classes = bundle.card.classifier.classes
    check_labels(labelled.manifest, classes)
    entries = labelled.manifest.of(labelled.split)
    images = load_labelled(entries, classes, session.spec.size, progress)
    right = int(np.sum(infer_all(session, images.pixels).argmax(axis=1) == images.labels))
    return SessionAccuracy(
        golden=golden,
        accuracy=right / len(entries),
        accuracy_ci95=wilson(right, len(entries)),
        images=len(entries),
        patients=len(set(images.patients)),
        split=labelled.split,
        manifest_sha256=labelled.manifest.sha256,
        warnings=tuple(evaluation_warnings(labelled.manifest)),
    )


def _replay_golden(session: Session, bundle: Bundle) -> GoldenReplay:
    golden = read_golden(bundle)
    # The expected outputs are those of the engine alone, without FP32 for its near ties.
    replay, logits = compare_with_golden(session.primary, bundle, bundle.precision, golden)
    same = logits.argmax(axis=1) == golden.logits[Precision.FP32].argmax(axis=1)
    return GoldenReplay(
        precision=replay.precision,
        expected=replay.expected,
        images=replay.images,
        max_logit_difference=replay.max_logit_difference,
        max_probability_difference=replay.max_probability_difference,
        classes_changed=replay.classes_changed,
        passed=replay.passed,
        agreement_fp32=float(same.mean()),
        agreement_fp32_ci95=wilson(int(same.sum()), len(same)),
        max_distance_difference=replay.max_distance_difference,
        refusals_changed=replay.refusals_changed,
        max_map_difference=replay.max_map_difference,
    )
