"""Replay of the golden images on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cxredge.backends.base import Logits, Session
from cxredge.bundle.golden import Golden
from cxredge.metrics.classification import softmax
from cxredge.vocabulary import Precision

if TYPE_CHECKING:
    pass
from cxredge.bundle.bundle import Bundle

MAX_PROBABILITY_DIFFERENCE = {
    Precision.FP32: 1e-3,
    Precision.BF16: 2e-2,
    Precision.FP16: 1e-2,
    Precision.INT8: 2e-2,
}
"""How far a probability may move on another machine, by precision; the class must not change."""


@dataclass(frozen=True)
class Replay:
    """What the goldens gave on this machine, for one precision.

    Attributes:
        precision: What was run.
        expected: Whose outputs it was held against: those of the same precision, or FP32's where
            TensorRT's own calibrator chose the ranges; then the classes decide alone.
        images: How many there are.
        max_logit_difference, max_probability_difference: The largest over images and classes.
        classes_changed: Images with another top class.
        passed: Whether this machine computes what it should.
    """

    precision: Precision
    expected: Precision
    images: int
    max_logit_difference: float
    max_probability_difference: float
    classes_changed: int
    passed: bool

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        named = {"precision": self.precision.value, "expected": self.expected.value}
        return {**self.__dict__, **named}


def replay(bundle: Bundle, precision: Precision, golden: Golden) -> Replay:
    """Run the goldens on this machine and compare with what they gave where they were made."""
    with bundle.open(precision) as session:
        return compare_with_golden(session, bundle, precision, golden)[0]


def compare_with_golden(
    session: Session, bundle: Bundle, precision: Precision, golden: Golden
) -> tuple[Replay, Logits]:
    """Run the goldens in an open session of a precision; return the comparison and the logits."""
    logits = np.concatenate([session.infer(image[None]) for image in golden.pixels])
    if bundle.was_calibrated_by_tensorrt(precision):
        fp32 = Precision.FP32
        return compare_logits(precision, logits, golden.logits[fp32], fp32), logits
    expected = golden.expected(precision, session.spec.backend)
    return compare_logits(precision, logits, expected), logits


def compare_logits(
    precision: Precision, logits: Logits, expected: Logits, reference: Precision | None = None
) -> Replay:
    """Compare what the goldens of a precision gave here with what they should give.

    Args:
        precision: What gave the logits.
        logits: float32 (N, classes), as they came.
        expected: float32 (N, classes), as they should.
        reference: Whose the expected ones are, where another's: then the classes decide alone.
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
