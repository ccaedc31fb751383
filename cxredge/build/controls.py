"""Controls and refusals of every variant, and their comparison with FP32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cxredge.artifacts.card import ClassifierSpec
from cxredge.backends.base import Outputs
from cxredge.build.held_out import SplitOutputs, infer_split
from cxredge.build.speed import Variant
from cxredge.bundle.operating_point import OperatingPoint
from cxredge.data.controls import control_images
from cxredge.data.manifest import Manifest
from cxredge.gate.gate import GateResult, with_refusals
from cxredge.gate.limits import RefusalLimits
from cxredge.gate.refusals import PairedControls, PairedRefusals
from cxredge.metrics.bootstrap import Bools
from cxredge.metrics.controls import ControlImages
from cxredge.progress import Progress
from cxredge.vocabulary import Precision

MaxDistances = Mapping[Variant, float | None]


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
    max_distances: MaxDistances,
    limits: RefusalLimits,
) -> GateResult:
    """Return the gate's result of a variant with its refusals and controls.

    Args:
        gate: Comparison of the logits.
        variant: The candidate.
        held_out: Outputs on the split of the gate.
        controls: Outputs on the controls; None without controls.
        max_distances: Largest distance of a familiar image, by variant.
        limits: Limits on both.
    """
    refusals = _refusals(held_out.outputs, held_out.images.patients, variant, max_distances)
    if controls is None:
        return with_refusals(gate, refusals, None, limits)
    of_controls = _refusals(controls.outputs, controls.patients, variant, max_distances)
    reference = controls.outputs[_fp32(controls.outputs)]
    paired = PairedControls(
        controls.described,
        controls.patients,
        controls.classes,
        reference.logits.argmax(axis=1),
        controls.outputs[variant].logits.argmax(axis=1),
        of_controls,
    )
    return with_refusals(gate, _joined(refusals, of_controls), paired, limits)


def _refusals(
    outputs: Mapping[Variant, Outputs],
    patients: Sequence[str],
    variant: Variant,
    max_distances: MaxDistances,
) -> PairedRefusals | None:
    """Return the refusals of a variant and of FP32; None if one of them refuses nothing."""

    def refused(which: Variant) -> Bools | None:
        point = OperatingPoint({}, max_distances[which])
        return point.refused(outputs[which].distances)

    reference, candidate = refused(_fp32(outputs)), refused(variant)
    if reference is None or candidate is None:
        return None
    return PairedRefusals(reference, candidate, patients)


def _joined(one: PairedRefusals | None, other: PairedRefusals | None) -> PairedRefusals | None:
    if one is None or other is None:
        return None
    return PairedRefusals(
        np.concatenate([one.reference, other.reference]),
        np.concatenate([one.candidate, other.candidate]),
        [*one.patients, *other.patients],
    )


def _fp32(outputs: Mapping[Variant, Outputs]) -> Variant:
    """Return the variant that is the reference."""
    return next(variant for variant in outputs if variant.precision is Precision.FP32)
