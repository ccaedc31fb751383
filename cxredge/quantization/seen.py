"""The images that INT8 is compared with FP32 on, and what FP32 makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxredge.artifacts.card import ClassifierSpec
from cxredge.backends.base import Logits
from cxredge.backends.batched import infer_file
from cxredge.data.loading import LabelledImages, load_labelled
from cxredge.data.manifest import Manifest
from cxredge.gate.gate import GateLimits, GateResult, Validation, compare
from cxredge.progress import Progress
from cxredge.vocabulary import Split


@dataclass(frozen=True)
class Seen:
    """Labelled images, and FP32's logits of them; validation images are None where there are none.

    Attributes:
        held_out: Images that the gate compares on.
        reference: FP32's logits of them.
        validation: Images that rungs and thresholds are chosen on.
        validation_reference: FP32's logits of them.
    """

    held_out: LabelledImages
    reference: Logits
    validation: LabelledImages | None
    validation_reference: Logits | None


def see(
    manifest: Manifest, split: Split, source: ClassifierSpec, fp32: Path, progress: Progress
) -> Seen:
    """Load a split and the validation images, and run FP32 on them.

    Args:
        manifest: Lists the images.
        split: What is held out.
        source: What FP32 is.
        fp32: Its file.
        progress: Hears of images loaded.
    """
    classes, size = source.classes, source.input_size
    held_out = load_labelled(manifest.of(split), classes, size, progress)
    reference = infer_file(fp32, held_out.pixels)
    if split is Split.VAL or Split.VAL.value not in manifest.counts():
        return Seen(held_out, reference, None, None)
    validation = load_labelled(manifest.of(Split.VAL), classes, size, progress)
    return Seen(held_out, reference, validation, infer_file(fp32, validation.pixels))


def compare_with_fp32(
    path: Path, seen: Seen, classes: Sequence[str], limits: GateLimits, specificity: float
) -> GateResult:
    """Compare a model with FP32 on the held-out images.

    Args:
        path: The model's file.
        seen: The images.
        classes: Names of the classes.
        limits: What may be lost.
        specificity: That thresholds are set to reach on validation images.
    """
    validation = None
    if seen.validation is not None and seen.validation_reference is not None:
        validation = Validation(
            seen.validation_reference,
            infer_file(path, seen.validation.pixels),
            seen.validation.labels,
            specificity,
        )
    return compare(
        seen.reference,
        infer_file(path, seen.held_out.pixels),
        seen.held_out.labels,
        seen.held_out.patients,
        limits,
        classes,
        validation,
    )
