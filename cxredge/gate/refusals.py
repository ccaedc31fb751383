"""Refusals of unfamiliar images in both precisions, and what controls are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxredge.gate.fidelity import Deviation, Measure, change_interval
from cxredge.metrics.bootstrap import Bools, patient_weights, weighted_mean
from cxredge.metrics.classification import Interval, Ints, wilson
from cxredge.metrics.controls import (
    OTHER_CLASS,
    ControlImages,
    ControlKind,
    measure_controls,
)
from cxredge.metrics.number_types import Count, Share


@dataclass(frozen=True)
class PairedRefusals:
    """Refusals of both precisions.

    Attributes:
        reference: bool (N,), images that FP32 refuses as unfamiliar.
        candidate: bool (N,), those that the candidate refuses.
        near: bool (N,), near ties of the candidate, which FP32 decides in a cascade.
        patients: The patient of each image.
    """

    reference: Bools
    candidate: Bools
    near: Bools
    patients: Sequence[str]


@dataclass(frozen=True)
class PairedControls:
    """Decisions of both precisions on controls.

    Attributes:
        images: What is known of the N images.
        patients: The patient of each image.
        classes: Class names.
        reference: int (N,), FP32's decisions.
        candidate: int (N,), the candidate's.
        refused: Their refusals; None if the networks refuse none.
    """

    images: ControlImages
    patients: Sequence[str]
    classes: Sequence[str]
    reference: Ints
    candidate: Ints
    refused: PairedRefusals | None


@dataclass(frozen=True)
class RefusalAgreement:
    """Images that are refused as unfamiliar by a candidate and by FP32.

    Attributes:
        images: Number of images: the held-out ones and the controls.
        refused_fp32: Number that FP32 refuses.
        refused: Number that the candidate refuses.
        alike: Number that both refuse, or both answer.
        alike_ci95: Wilson's interval of their share.
        alike_in_cascade: Number if FP32 decides the near ties; None on cards of earlier versions.
    """

    images: Count
    refused_fp32: Count
    refused: Count
    alike: Count
    alike_ci95: tuple[Share, Share]
    alike_in_cascade: Count | None = None


def refusal_agreement(pair: PairedRefusals) -> RefusalAgreement:
    """Count the refusals of both precisions."""
    same = pair.reference == pair.candidate
    images, alike = len(same), int(same.sum())
    return RefusalAgreement(
        images=images,
        refused_fp32=int(pair.reference.sum()),
        refused=int(pair.candidate.sum()),
        alike=alike,
        alike_ci95=wilson(alike, images),
        alike_in_cascade=int((same | pair.near).sum()),
    )


def agreement_deviation(pair: PairedRefusals) -> Deviation:
    """Return the share of images that are refused or answered as in FP32."""
    alike = pair.reference == pair.candidate
    return _deviation(
        Measure.REFUSAL_AGREEMENT, None, pair.patients, np.ones(len(alike), bool), alike
    )


def control_deviations(pair: PairedControls) -> list[Deviation]:
    """Return for each kind the share of controls that are called a class and not refused.

    Those that are called ``other`` are not among them.
    """
    kinds, patients = np.array(pair.images.kinds, np.str_), np.array(pair.patients, np.str_)
    nobody = np.zeros(len(kinds), dtype=bool)
    other = np.array([name == OTHER_CLASS for name in pair.classes])
    before = ~(pair.refused.reference if pair.refused else nobody) & ~other[pair.reference]
    after = ~(pair.refused.candidate if pair.refused else nobody) & ~other[pair.candidate]
    return [
        _deviation(
            Measure.CONTROL_RATE,
            str(kind),
            patients[kinds == kind].tolist(),
            before[kinds == kind],
            after[kinds == kind],
        )
        for kind in np.unique(kinds)
    ]


def called_by_candidate(pair: PairedControls) -> dict[str, ControlKind]:
    """Return what the candidate calls the controls, by kind."""
    refused = pair.refused.candidate if pair.refused else None
    return measure_controls(pair.images, pair.candidate, refused, pair.classes)


def _deviation(
    measure: Measure, name: str | None, patients: Sequence[str], before: Bools, after: Bools
) -> Deviation:
    """Return the shares of images of which something holds in either precision."""
    return Deviation(
        measure,
        name,
        len(set(patients)),
        float(before.mean()),
        float(after.mean()),
        float(after.mean()) - float(before.mean()),
        _interval(patients, before, after),
    )


def _interval(patients: Sequence[str], before: Bools, after: Bools) -> Interval | None:
    draws = [
        weighted_mean(after, weights) - weighted_mean(before, weights)
        for weights in patient_weights(patients)
    ]
    return change_interval(np.concatenate(draws))
