"""The gate: whether INT8 still makes the decisions of FP32."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cxredge import metrics


@dataclass(frozen=True)
class GateLimits:
    """What a build may lose against FP32 on held-out images.

    Attributes:
        max_accuracy_drop: Largest loss of accuracy, as a share (0.01 is one point).
        min_agreement: Smallest share of images with the same top class.
    """

    max_accuracy_drop: float = 0.01
    min_agreement: float = 0.97


@dataclass(frozen=True)
class GateResult:
    """A comparison with FP32 on the same images.

    Attributes:
        reasons: What was found and the limit, for each limit.
        refusals: Those of them that do not hold.
        images: Number of images compared.
        accuracy_fp32: Accuracy of FP32.
        accuracy: Accuracy of the candidate.
        accuracy_difference_ci95: Paired bootstrap interval, over patients, of candidate minus FP32.
        agreement: Share of images with the same top class.
        agreement_ci95: Wilson interval of that share.
        logit_error: Root mean square difference of the logits over that of FP32's own.
    """

    reasons: tuple[str, ...]
    refusals: tuple[str, ...]
    images: int
    accuracy_fp32: float
    accuracy: float
    accuracy_difference_ci95: metrics.Interval
    agreement: float
    agreement_ci95: metrics.Interval
    logit_error: float

    @property
    def passed(self) -> bool:
        """Whether every limit holds."""
        return not self.refusals

    @property
    def refusal(self) -> str:
        """What does not hold, in words."""
        return "; ".join(self.refusals)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> GateResult:
        """Return what :meth:`to_json` wrote down."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in values.items()
            if key != "passed"
        }
        return cls(**fields)

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        listed = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {"passed": self.passed, **listed}


def compare(
    reference: metrics.Floats,
    candidate: metrics.Floats,
    labels: metrics.Ints,
    patients: list[str],
    limits: GateLimits,
) -> GateResult:
    """Compare a candidate's logits with FP32's on the same images.

    Args:
        reference: float (N, classes), logits of FP32.
        candidate: float (N, classes), logits of the candidate.
        labels: int (N,).
        patients: The patient of each image; the interval resamples patients.
        limits: What may be lost.
    """
    right_fp32 = (reference.argmax(axis=1) == labels).astype(float)
    right = (candidate.argmax(axis=1) == labels).astype(float)
    same = reference.argmax(axis=1) == candidate.argmax(axis=1)
    difference = right - right_fp32
    drop = -float(difference.mean())
    agreement = float(same.mean())
    # Shares of whole images; the tolerance only absorbs the rounding of their difference.
    checks = (
        (
            drop <= limits.max_accuracy_drop + 1e-9,
            f"accuracy {right.mean():.4f} against {right_fp32.mean():.4f} in FP32 "
            f"(may drop by {limits.max_accuracy_drop:g})",
        ),
        (
            agreement >= limits.min_agreement - 1e-9,
            f"agreement {agreement:.4f} (at least {limits.min_agreement:g})",
        ),
    )
    return GateResult(
        reasons=tuple(text for _, text in checks),
        refusals=tuple(text for held, text in checks if not held),
        images=len(labels),
        accuracy_fp32=float(right_fp32.mean()),
        accuracy=float(right.mean()),
        accuracy_difference_ci95=metrics.bootstrap(lambda i: float(difference[i].mean()), patients),
        agreement=agreement,
        agreement_ci95=metrics.wilson(int(same.sum()), len(same)),
        logit_error=float(
            np.sqrt(np.mean((candidate - reference) ** 2)) / np.sqrt(np.mean(reference**2))
        ),
    )
