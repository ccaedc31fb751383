"""Near ties: images whose first two classes a precision may have put in the wrong order.

Let a reduced precision add d to an image's logits and decide for class i, and call
d[i] - min(d) its *lead*: the most by which it may have raised i over another class. If FP32 decides
for another class j, FP32's logit of j is not below that of i, but the precision has i above j by at
least its margin, the first logit minus the second. So d[i] - d[j] is at least the margin, and so is
the lead: an image whose lead is less than its margin has FP32's decision.

Validation images show the leads to expect. A further image, exchangeable with n of them, has a
larger lead than all of these with a probability of at most 1 / (n + 1), for any distribution
(conformal prediction: Vovk, Gammerman and Shafer 2005, "Algorithmic Learning in a Random World",
chapter 2). So FP32 needs to decide only the images whose margin is within the largest lead.

The number of changed decisions among a few hundred images is largely chance: it depends on the few
images that are almost ties. The shift of the logits is measured on all images, so the *expected*
number of changed decisions is a more certain figure than the observed one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from cxredge.metrics.classification import Floats, Ints
from cxredge.metrics.number_types import Count, NonNegative, Share

MAX_MARGIN = 1e4
"""Largest difference of two logits in a card; those of trained networks differ by dozens."""


@dataclass(frozen=True)
class NearTies:
    """Near ties of a precision, and the effect of FP32 deciding them.

    Attributes:
        margin: Largest difference of the first two logits of a near tie: the largest lead of a
            validation image.
        validation_images: Number of validation images.
        images: Number of held-out images.
        near: Number of near ties among them, including those at the limit.
        flipped: Number of changed decisions among the other images.
        accuracy: Accuracy on held-out images if FP32 decides the near ties.
        expected_flips: Expected number of changed decisions of the precision alone
            (:func:`expect_flips`); None in older cards.
        at_limit: Number of near ties whose logits are further apart than the margin, but whose
            distance is too near to the limit of familiar images (:class:`DistanceLimit`).
    """

    JSON_KEYS: ClassVar = (
        "margin", "validation_images", "images", "near", "flipped", "accuracy", "expected_flips",
        "at_limit", "share", "agreement", "risk",
    )  # fmt: skip

    margin: Annotated[float, msgspec.Meta(ge=0, le=MAX_MARGIN)]
    validation_images: Count
    images: Annotated[int, msgspec.Meta(ge=1)]
    near: Count
    flipped: Count
    accuracy: Share
    expected_flips: NonNegative | None = None
    at_limit: Count = 0

    @property
    def share(self) -> float:
        """Share of held-out images that are near ties."""
        return self.near / self.images

    @property
    def agreement(self) -> float:
        """Agreement with FP32 on held-out images if FP32 decides the near ties."""
        return 1 - self.flipped / self.images

    @property
    def risk(self) -> float:
        """Largest probability that a further image has a larger lead than the margin."""
        return 1 / (self.validation_images + 1)


def margins(logits: Floats) -> Floats:
    """Return the first logit minus the second of each image: float (N,) of float (N, classes)."""
    ordered = np.sort(logits, axis=1)
    found: Floats = ordered[:, -1] - ordered[:, -2]
    return found


def leads(reference: Floats, candidate: Floats) -> Floats:
    """Return the lead of each image, float (N,).

    Args:
        reference: float (N, classes), logits of FP32.
        candidate: float (N, classes), logits of the precision.
    """
    raised = candidate - reference
    of_first = np.take_along_axis(raised, candidate.argmax(axis=1)[:, None], axis=1)[:, 0]
    found: Floats = of_first - raised.min(axis=1)
    return found


def are_near(logits: Floats, margin: float) -> npt.NDArray[np.bool_]:
    """Return whether each image's first two logits are within a margin, bool (N,)."""
    return margins(logits) <= margin


def decided_again(reference: Floats, candidate: Floats, near: npt.NDArray[np.bool_]) -> Floats:
    """Return a precision's logits, with FP32's for its near ties.

    Args:
        reference: float (N, classes), logits of FP32.
        candidate: float (N, classes), logits of the precision.
        near: bool (N,), the near ties.
    """
    return np.where(near[:, None], reference, candidate)


def expect_flips(validation: tuple[Floats, Floats], reference: Floats) -> float:
    """Return the expected number of images whose decision a precision changes.

    A decision changes if the precision lowers FP32's first logit minus its second by more than
    their difference. The distribution of that shift is taken from the half of the validation images
    whose margins are nearest to the image's own, because clear cases often shift less than near
    ties. Other classes are ignored.

    Args:
        validation: Logits of FP32 and of the precision, float (V, classes) each.
        reference: FP32's logits of the images in question, float (N, classes).
    """
    fp32, candidate = validation
    first_two = np.argsort(fp32, axis=1)[:, :-3:-1]
    now = np.take_along_axis(candidate, first_two, axis=1)
    known = margins(fp32)
    order = np.argsort(known)
    moved = (now[:, 0] - now[:, 1] - known)[order]
    known = known[order]
    half = max(1, len(known) // 2)
    wanted = margins(reference)
    starts = np.clip(np.searchsorted(known, wanted) - half // 2, 0, len(known) - half)
    shares = [
        (moved[start : start + half] < -margin).mean()
        for start, margin in zip(starts, wanted, strict=True)
    ]
    return float(np.sum(shares))


def measure_near_ties(
    validation: tuple[Floats, Floats],
    held_out: tuple[Floats, Floats],
    labels: Ints,
    at_limit: npt.NDArray[np.bool_] | None = None,
) -> NearTies:
    """Find the margin on validation images and measure its effect on held-out ones.

    Args:
        validation: Logits of FP32 and of the precision, float (V, classes) each.
        held_out: The same of held-out images, float (N, classes) each.
        labels: int (N,), classes of the held-out images.
        at_limit: bool (N,), held-out images whose distance is near the limit; None without limit.
    """
    margin = float(leads(*validation).max())
    reference, candidate = held_out
    tied = are_near(candidate, margin)
    near = tied if at_limit is None else tied | at_limit
    decisions = decided_again(reference, candidate, near).argmax(axis=1)
    return NearTies(
        margin=margin,
        validation_images=len(validation[0]),
        images=len(labels),
        near=int(near.sum()),
        flipped=int((decisions != reference.argmax(axis=1)).sum()),
        accuracy=float((decisions == labels).mean()),
        expected_flips=expect_flips(validation, reference),
        at_limit=int((near & ~tied).sum()),
    )
