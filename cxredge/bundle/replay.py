"""Replay of the golden images on this machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxredge.backends.base import Distances, Logits, Outputs, Session
from cxredge.backends.batched import check_outputs
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
MAX_DISTANCE_DIFFERENCE = {
    Precision.FP32: 1e-3,
    Precision.BF16: 1e-1,
    Precision.FP16: 5e-2,
    Precision.INT8: 1e-1,
}
"""Largest allowed difference of a distance by precision, as a share of the expected one; an image
must not become unfamiliar or familiar. MobileNet V1 in INT8 differs by up to 1.2% between OpenVINO
and ONNX Runtime."""
MAX_MAP_DIFFERENCE = MAX_DISTANCE_DIFFERENCE
"""Largest allowed difference of the mean of a map plus bias from its logit by precision, as a share
of the largest logit."""
_AT_THE_LIMIT = 1e-3
"""Largest difference of an expected distance from the limit, as a share of it, at which rounding
may decide whether the image is familiar."""


@dataclass(frozen=True)
class Replay:
    """Result of the golden images on this machine, for one precision.

    Attributes:
        precision: The precision that was run.
        expected: The precision whose outputs were expected: the same one, or FP32 if TensorRT's own
            calibrator chose the ranges; then only the classes and the refusals are compared.
        images: Number of golden images.
        max_logit_difference, max_probability_difference: Largest absolute difference over images
            and classes.
        classes_changed: Number of images with another top class.
        passed: Whether this machine reproduces the expected results.
        max_distance_difference: Largest difference of a distance, as a share of the expected one;
            None if the network returns no distance, or the bundle is of an earlier version.
        refusals_changed: Number of images that are unfamiliar only here, or only at the build; None
            as ``max_distance_difference``.
        max_map_difference: Largest difference of the mean of a class activation map plus bias from
            its logit, as a share of the largest logit; None if the network returns no maps.
    """

    precision: Precision
    expected: Precision
    images: int
    max_logit_difference: float
    max_probability_difference: float
    classes_changed: int
    passed: bool
    max_distance_difference: float | None = None
    refusals_changed: int | None = None
    max_map_difference: float | None = None

    def differences(self) -> str:
        """Return what differs on this machine, in a sentence without its end."""
        found = (
            f"of {self.images} golden images {self.classes_changed} change class, probabilities "
            f"change by up to {self.max_probability_difference:.3f}"
        )
        if self.max_distance_difference is not None:
            found += (
                f", {self.refusals_changed} become familiar or unfamiliar, distances change by up "
                f"to {self.max_distance_difference:.1%}"
            )
        if self.max_map_difference is not None:
            found += f", heatmaps differ from the logits by up to {self.max_map_difference:.1%}"
        return found


def replay(bundle: Bundle, precision: Precision, golden: Golden) -> Replay:
    """Run the golden images on this machine and compare with their outputs at build.

    Raises:
        NotFiniteError: An output is NaN or infinite.
    """
    with bundle.open(precision) as session:
        return compare_with_golden(session, bundle, precision, golden)[0]


def compare_with_golden(
    session: Session, bundle: Bundle, precision: Precision, golden: Golden
) -> tuple[Replay, Logits]:
    """Run the golden images in an open session; return the comparison and the logits."""
    found = Outputs.joined([session.run(image[None]) for image in golden.pixels])
    check_outputs(found, f"The network in {precision.value} on {session.spec.backend}")
    reference = Precision.FP32 if bundle.was_calibrated_by_tensorrt(precision) else precision
    # FP32's logits are those of its first runtime, which is the reference of all others.
    expected = (
        golden.expected(precision, session.spec.backend)
        if reference is precision
        else golden.expected(reference, "")
    )
    limits = (
        bundle.operating_point(reference).max_distance,
        bundle.operating_point(precision).max_distance,
    )
    return compare_outputs((reference, precision), (expected, found), limits), found.logits


def compare_outputs(
    precisions: tuple[Precision, Precision],
    outputs: tuple[Outputs, Outputs],
    limits: tuple[float | None, float | None] = (None, None),
) -> Replay:
    """Compare the outputs of golden images with the expected ones.

    Args:
        precisions: That of the expected outputs, and the one that was run. If they differ, only the
            classes and the refusals are compared.
        outputs: Expected outputs, and those of this machine.
        limits: Largest distance of a familiar image in both precisions; None without distances.
    """
    precision, (expected, found) = precisions[1], outputs
    difference = float(np.abs(softmax(found.logits) - softmax(expected.logits)).max())
    changed = int((found.logits.argmax(axis=1) != expected.logits.argmax(axis=1)).sum())
    apart = refusals = None
    if expected.distances is not None and found.distances is not None:
        apart = float((np.abs(found.distances / np.maximum(expected.distances, 1e-9) - 1)).max())
        refusals = _refusals_changed((expected.distances, found.distances), limits)
    of_maps = _map_difference(found)
    close = (
        difference <= MAX_PROBABILITY_DIFFERENCE[precision]
        and (apart or 0) <= MAX_DISTANCE_DIFFERENCE[precision]
        and (of_maps or 0) <= MAX_MAP_DIFFERENCE[precision]
    )
    return Replay(
        precision=precision,
        expected=precisions[0],
        images=len(found.logits),
        max_logit_difference=float(np.abs(found.logits - expected.logits).max()),
        max_probability_difference=difference,
        classes_changed=changed,
        passed=not changed and not refusals and (close or precisions[0] is not precision),
        max_distance_difference=apart,
        refusals_changed=refusals,
        max_map_difference=of_maps,
    )


def _refusals_changed(
    distances: tuple[Distances, Distances], limits: tuple[float | None, float | None]
) -> int:
    """Return the number of images that are unfamiliar in only one of two runs."""
    before, after = limits
    if before is None or after is None:
        return 0
    clear = np.abs(distances[0] - before) > _AT_THE_LIMIT * before
    changed = (distances[0] > before) != (distances[1] > after)
    return int((changed & clear).sum())


def _map_difference(outputs: Outputs) -> float | None:
    """Return how far maps and logits are from agreeing, whatever the bias of each class."""
    if outputs.maps is None:
        return None
    biases = outputs.logits - outputs.maps.mean(axis=(2, 3))
    spread = float((biases.max(axis=0) - biases.min(axis=0)).max()) / 2
    return spread / max(1.0, float(np.abs(outputs.logits).max()))
