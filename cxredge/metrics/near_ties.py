"""Near ties: images whose first two classes a precision may have put in the wrong order.

Say a reduced precision adds d to an image's logits and decides for class i, and call its *lead*
d[i] - min(d): by how much it may have favoured i unduly. Where FP32 decides for another class j, it
has j no lower than i, but the precision has i above j by its margin, first logit minus second, at
least. So d[i] - d[j] is at least the margin, and so is the lead: an image whose lead is less than
its margin is decided as FP32 decides it.

What leads to expect, validation images tell. One more image like n of them has a larger lead than
all of these with a probability of at most 1 / (n + 1), whatever the distribution (conformal
prediction: Vovk, Gammerman and Shafer 2005, "Algorithmic Learning in a Random World", chapter 2).
So FP32 need only decide the images whose margin is within the largest lead seen.

How many of few hundred images a precision decides otherwise is chance: it depends on how many lie
within a hundredth of a tie. What it moves is seen on many, so how many it is *expected* to decide
otherwise is surer than how many it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgspec
import numpy as np
import numpy.typing as npt

from cxredge.metrics.classification import Floats, Ints
from cxredge.metrics.number_types import Count, Share


@dataclass(frozen=True)
class NearTies:
    """Which images are near ties in a precision, and what it brings that FP32 decides them.

    Attributes:
        margin: First logit minus second up to which an image is one: the largest lead of a
            validation image.
        validation_images: That this was seen on.
        images: Held-out images.
        near: Of these, the near ties.
        flipped: Of the others, those decided otherwise than in FP32.
        accuracy: Of all of these when FP32 decides the near ties.
        expected_flips: How many held-out images the precision by itself is expected to decide
            otherwise (:func:`expect_flips`); None in cards from before this was measured.
    """

    JSON_KEYS: ClassVar = (
        "margin", "validation_images", "images", "near", "flipped", "accuracy", "expected_flips",
        "share", "agreement", "risk",
    )  # fmt: skip

    margin: Annotated[float, msgspec.Meta(ge=0)]
    validation_images: Count
    images: Annotated[int, msgspec.Meta(ge=1)]
    near: Count
    flipped: Count
    accuracy: Share
    expected_flips: float | None = None

    @property
    def share(self) -> float:
        """Share of held-out images that are near ties."""
        return self.near / self.images

    @property
    def agreement(self) -> float:
        """Share of held-out images decided as in FP32 when FP32 decides the near ties."""
        return 1 - self.flipped / self.images

    @property
    def risk(self) -> float:
        """Largest probability that an image like the validation images leads by more."""
        return 1 / (self.validation_images + 1)


def margins(logits: Floats) -> Floats:
    """Return the first logit minus the second of each image: float (N,) of float (N, classes)."""
    ordered = np.sort(logits, axis=1)
    found: Floats = ordered[:, -1] - ordered[:, -2]
    return found


def leads(reference: Floats, candidate: Floats) -> Floats:
    """Return by how much a precision raises each image's first class against any other, float (N,).

    Args:
        reference: float (N, classes), logits of FP32.
        candidate: float (N, classes), logits of the precision.
    """
    raised = candidate - reference
    of_first = np.take_along_axis(raised, candidate.argmax(axis=1)[:, None], axis=1)[:, 0]
    found: Floats = of_first - raised.min(axis=1)
    return found


def are_near(logits: Floats, margin: float) -> npt.NDArray[np.bool_]:
    """Tell of each image whether its first two classes lie within a margin, bool (N,)."""
    return margins(logits) <= margin


def decided_again(reference: Floats, candidate: Floats, margin: float) -> Floats:
    """Return a precision's logits, those of its near ties replaced by FP32's.

    Args:
        reference: float (N, classes), logits of FP32.
        candidate: float (N, classes), logits of the precision.
        margin: Up to which an image is a near tie.
    """
    return np.where(are_near(candidate, margin)[:, None], reference, candidate)


def expect_flips(validation: tuple[Floats, Floats], reference: Floats) -> float:
    """Return how many images a precision is expected to decide otherwise than FP32.

    An image changes if the precision moves FP32's first logit minus its second by more than these
    lie apart. How far it moves an image, the half of the validation images says whose margins are
    nearest to its own: clear cases are often moved less than near ties. Third classes are left out.

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
    validation: tuple[Floats, Floats], held_out: tuple[Floats, Floats], labels: Ints
) -> NearTies:
    """Find the margin on validation images and see on held-out ones what it does.

    Args:
        validation: Logits of FP32 and of the precision, float (V, classes) each.
        held_out: The same of held-out images, float (N, classes) each.
        labels: int (N,), classes of the held-out images.
    """
    margin = float(leads(*validation).max())
    reference, candidate = held_out
    decisions = decided_again(reference, candidate, margin).argmax(axis=1)
    return NearTies(
        margin=margin,
        validation_images=len(validation[0]),
        images=len(labels),
        near=int(are_near(candidate, margin).sum()),
        flipped=int((decisions != reference.argmax(axis=1)).sum()),
        accuracy=float((decisions == labels).mean()),
        expected_flips=expect_flips(validation, reference),
    )
