"""Controls of a manifest: what a bundle calls them, beside its answers for the split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cxredge.artifacts.training_images import TrainingImages
from cxredge.backends.base import Outputs
from cxredge.bundle.bundle import Bundle
from cxredge.data.controls import control_images
from cxredge.data.images import GreyImage
from cxredge.data.loading import load_pixels
from cxredge.data.manifest import Entry, Manifest
from cxredge.data.pseudonyms import PatientKey
from cxredge.data.seen_images import count_seen
from cxredge.inference.answers import refused_images
from cxredge.inference.groups import Seen
from cxredge.metrics.classification import Ints, softmax
from cxredge.metrics.controls import ControlKind, measure_controls
from cxredge.progress import Progress
from cxredge.vocabulary import Precision, Split

_NO_CLASS = -1


def seen_images(
    bundle: Bundle,
    entries: Sequence[Entry],
    labels: Ints | None,
    outputs: Outputs,
    fp32: Outputs,
) -> Seen:
    """Return images with what a bundle and its FP32 model found.

    Args:
        bundle: The bundle.
        entries: The N images.
        labels: int (N,), indices of their classes; None for controls.
        outputs: Outputs of the bundle.
        fp32: Outputs of its FP32 model.
    """
    return Seen(
        entries=entries,
        labels=np.full(len(entries), _NO_CLASS) if labels is None else labels,
        probabilities=softmax(outputs.logits),
        refused=refused_images(bundle, outputs),
        refused_fp32=bundle.operating_point(Precision.FP32).refused(fp32.distances),
    )


def load_controls(manifest: Manifest, size: int, progress: Progress) -> GreyImage:
    """Decode the controls of a manifest: uint8 (N, size, size), N may be 0."""
    if not manifest.controls:
        return np.empty((0, size, size), np.uint8)
    with progress.task("Decoding controls", len(manifest.controls)) as advance:
        return load_pixels(manifest.controls, size, lambda: advance(1))


def called(
    manifest: Manifest, controls: Seen | None, classes: Sequence[str]
) -> dict[str, ControlKind]:
    """Return what a bundle calls controls, by kind; empty without controls."""
    if controls is None:
        return {}
    decisions = controls.probabilities.argmax(axis=1)
    return measure_controls(control_images(manifest), decisions, controls.refused, classes)


def called_by_fp32(
    manifest: Manifest, fp32: Outputs | None, controls: Seen | None, classes: Sequence[str]
) -> dict[str, ControlKind]:
    """Return what FP32 calls controls, by kind; empty without controls."""
    if controls is None or fp32 is None:
        return {}
    decisions = fp32.logits.argmax(axis=1)
    return measure_controls(control_images(manifest), decisions, controls.refused_fp32, classes)


def seen_control_warnings(
    training: TrainingImages | None,
    manifest: Manifest,
    pixels: GreyImage,
    key: PatientKey | None,
) -> list[str]:
    """Return a sentence if the network was trained on controls, or on their patients."""
    if training is None or not len(pixels):
        return []
    seen = count_seen(training, manifest, Split.CONTROL, pixels, key)
    found = []
    if images := seen.images + seen.validation_images:
        found.append(
            f"{images} of the controls are training or validation images of the network: they do "
            "not show what it makes of other X-rays."
        )
    if patients := (seen.patients or 0) + (seen.validation_patients or 0):
        found.append(
            f"{patients} of the controls' patients have training or validation images: the "
            "controls may look familiar."
        )
    return found
