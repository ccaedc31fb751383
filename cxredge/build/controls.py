"""Controls and refusals of every variant, and their comparison with FP32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cxredge.artifacts.card import ClassifierSpec
from cxredge.backends.base import Outputs
from cxredge.backends.cascade import near_ties_of
from cxredge.build.held_out import SplitOutputs, infer_split
from cxredge.build.speed import Variant
from cxredge.data.controls import control_images
from cxredge.data.manifest import Manifest
from cxredge.gate.gate import GateResult, with_refusals
from cxredge.gate.limits import RefusalLimits
from cxredge.gate.refusals import PairedControls, PairedRefusals
from cxredge.metrics.controls import ControlImages
from cxredge.metrics.distance_limit import DistanceLimit
from cxredge.progress import Progress
from cxredge.vocabulary import Precision

DistanceLimits = Mapping[Variant, DistanceLimit | None]


@dataclass(frozen=True)
class ControlOutputs:
    """The controls of a manifest, and the outputs of every variant.

    Attributes:
        described: What the manifest states of them.
        patients: The patient of each image.
        classes: Names of the classes.
        outputs: Outputs by variant.
    """

    described: ControlImages
    patients: Sequence[str]
    classes: Sequence[str]
    outputs: Mapping[Variant, Outputs]


def infer_controls(
    manifest: Manifest, variants: Sequence[Variant], classifier: ClassifierSpec, progress: Progress
) -> ControlOutputs | None:
    """Run every variant on the controls of a manifest; None if it has none."""
    if not manifest.controls:
        return None
    found = infer_split(manifest.controls, variants, classifier, progress)
    described = control_images(manifest)
    return ControlOutputs(described, found.images.patients, classifier.classes, found.outputs)


def judge_refusals(
    gate: GateResult,
    variant: Variant,
    held_out: SplitOutputs,
    controls: ControlOutputs | None,
    distance_limits: DistanceLimits,
    limits: RefusalLimits,
) -> GateResult:
    """Return the gate's result of a variant with its refusals and controls.

    Args:
        gate: Comparison of the logits.
        variant: The candidate.
        held_out: Outputs on the split of the gate.
        controls: Outputs on the controls; None without controls.
        distance_limits: Limit of the distances, by variant.
        limits: Limits on both.
    """
    margin = gate.near_ties.margin if gate.near_ties else 0.0

    def paired(
        outputs: Mapping[Variant, Outputs], patients: Sequence[str]
    ) -> PairedRefusals | None:
        fp32 = _fp32(outputs)
        return _pair(
            (outputs[fp32], distance_limits[fp32]),
            (outputs[variant], distance_limits[variant]),
            margin,
            patients,
        )

    refusals = paired(held_out.outputs, held_out.images.patients)
    if controls is None:
        return with_refusals(gate, refusals, None, limits)
    of_controls = paired(controls.outputs, controls.patients)
    called = PairedControls(
        controls.described,
        controls.patients,
        controls.classes,
        controls.outputs[_fp32(controls.outputs)].logits.argmax(axis=1),
        controls.outputs[variant].logits.argmax(axis=1),
        of_controls,
    )
    return with_refusals(gate, _joined(refusals, of_controls), called, limits)


def _pair(
    fp32: tuple[Outputs, DistanceLimit | None],
    candidate: tuple[Outputs, DistanceLimit | None],
    margin: float,
    patients: Sequence[str],
) -> PairedRefusals | None:
    """Return the refusals of both precisions; None if one of them refuses nothing.

    Args:
        fp32: Its outputs and its limit of distances.
        candidate: The same of the candidate.
        margin: Largest margin of the candidate's near ties.
        patients: The patient of each image.
    """
    (reference, its_limit), (outputs, limit) = fp32, candidate
    if reference.distances is None or outputs.distances is None or not (its_limit and limit):
        return None
    return PairedRefusals(
        its_limit.refused(reference.distances),
        limit.refused(outputs.distances),
        near_ties_of(outputs, margin, limit),
        patients,
    )


def _joined(one: PairedRefusals | None, other: PairedRefusals | None) -> PairedRefusals | None:
    if one is None or other is None:
        return None
    return PairedRefusals(
        np.concatenate([one.reference, other.reference]),
        np.concatenate([one.candidate, other.candidate]),
        np.concatenate([one.near, other.near]),
        [*one.patients, *other.patients],
    )


def _fp32(outputs: Mapping[Variant, Outputs]) -> Variant:
    """Return the variant that is the reference."""
    return next(variant for variant in outputs if variant.precision is Precision.FP32)
