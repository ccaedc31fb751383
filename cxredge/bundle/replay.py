"""Replay of the golden images on this machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxredge.backends.base import Logits, Session
from cxredge.backends.batched import check_finite
from cxredge.bundle.bundle import Bundle
from cxredge.bundle.golden import Golden
from cxredge.metrics.classification import softmax
from cxredge.vocabulary import Precision

MAX_PROBABILITY_DIFFERENCE = {
    Precision.FP32: 1e-3,
    Precision.BF16: 2e-2,
    Precision.FP16: 1e-2,
    Precision.INT8: 2e-2,
}
"""Largest allowed difference of a probability by precision; the class must not change."""


@dataclass(frozen=True)
class Replay:
    """Result of the golden images on this machine, for one precision.

    Attributes:
        precision: The precision that was run.
        expected: The precision whose logits were expected: the same one, or FP32 if TensorRT's own
            calibrator chose the ranges; then only the classes are compared.
        images: Number of golden images.
        max_logit_difference, max_probability_difference: Largest absolute difference over images
            and classes.
        classes_changed: Number of images with another top class.
        passed: Whether this machine reproduces the expected results.
    """

    precision: Precision
    expected: Precision
    images: int
    max_logit_difference: float
    max_probability_difference: float
    classes_changed: int
    passed: bool


def replay(bundle: Bundle, precision: Precision, golden: Golden) -> Replay:
    """Run the golden images on this machine and compare with their logits at build.

    Raises:
        NotFiniteError: A logit is NaN or infinite.
    """
    with bundle.open(precision) as session:
        return compare_with_golden(session, bundle, precision, golden)[0]


def compare_with_golden(
    session: Session, bundle: Bundle, precision: Precision, golden: Golden
) -> tuple[Replay, Logits]:
    """Run the golden images in an open session; return the comparison and the logits."""
    logits = np.concatenate([session.infer(image[None]) for image in golden.pixels])
    check_finite(logits, f"The network in {precision.value} on {session.spec.backend}")
    if bundle.was_calibrated_by_tensorrt(precision):
        fp32 = Precision.FP32
        return compare_logits(precision, logits, golden.logits[fp32], fp32), logits
    expected = golden.expected(precision, session.spec.backend)
    return compare_logits(precision, logits, expected), logits


def compare_logits(
    precision: Precision, logits: Logits, expected: Logits, reference: Precision | None = None
) -> Replay:
    """Compare the logits of golden images with the expected ones.

    Args:
        precision: The precision that was run.
        logits: float32 (N, classes), of this machine.
        expected: float32 (N, classes), of the build.
        reference: The precision of the expected logits if it is another one: then only the classes
            are compared.
    """
    difference = float(np.abs(softmax(logits) - softmax(expected)).max())
    changed = int((logits.argmax(axis=1) != expected.argmax(axis=1)).sum())
    return Replay(
        precision=precision,
        expected=reference or precision,
        images=len(logits),
        max_logit_difference=float(np.abs(logits - expected).max()),
        max_probability_difference=difference,
        classes_changed=changed,
        passed=changed == 0
        and (reference is not None or difference <= MAX_PROBABILITY_DIFFERENCE[precision]),
    )
