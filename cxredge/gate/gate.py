"""The gate: a reduced precision is compared with FP32 on the same images, and may be refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from cxredge.gate.fidelity import Flip, Measure, Paired, measure_fidelity
from cxredge.gate.limits import (
    MIN_PATIENTS,
    GateLimits,
    LimitCheck,
    LimitVerdict,
    RefusalLimits,
    check,
)
from cxredge.gate.refusals import (
    PairedControls,
    PairedRefusals,
    RefusalAgreement,
    agreement_deviation,
    called_by_candidate,
    control_deviations,
    refusal_agreement,
)
from cxredge.gate.thresholds import Drift, Validation
from cxredge.metrics import classification as metrics
from cxredge.metrics.bootstrap import Bools
from cxredge.metrics.controls import Controls
from cxredge.metrics.maps import MapFidelity
from cxredge.metrics.near_ties import NearTies, measure_near_ties
from cxredge.metrics.number_types import Count, Share

__all__ = ["GateLimits", "GateResult", "Validation", "compare", "with_refusals"]


@dataclass(frozen=True)
class GateResult:
    """Result of a comparison with FP32; a reduced precision ships only if it passed.

    Attributes:
        checks: Every measure with its limit and verdict.
        images: Number of images compared.
        patients: Number of their patients.
        agreement_ci95: Wilson interval of the share of images with the same top class.
        thresholds: Operating thresholds of both precisions with the drift, by class.
        flipped: The images whose decision changed.
        near_ties: Effect of FP32 deciding the candidate's near ties; None without validation
            images.
        cascade: Whether FP32 decides near ties where the candidate serves. Measures and verdicts
            are of the candidate alone: a candidate that loses too much is refused, even if FP32
            would make up for it.
        maps: Agreement of the class activation maps with FP32's; None without maps, and on cards of
            earlier versions. It has no limit.
        unfamiliar: Refusals of both precisions on the held-out images and the controls; None if the
            network refuses none, and on cards of earlier versions.
        controls: What the candidate calls controls, by kind; empty without controls.
    """

    JSON_KEYS: ClassVar = (
        "passed", "refusals", "cautions", "images", "patients", "accuracy_fp32", "accuracy",
        "accuracy_difference_ci95", "agreement", "agreement_ci95", "logit_error", "checks",
        "thresholds", "flipped", "near_ties", "cascade", "maps", "unfamiliar", "controls",
    )  # fmt: skip

    checks: tuple[LimitCheck, ...]
    images: Count
    patients: Count
    agreement_ci95: tuple[Share, Share]
    thresholds: tuple[Drift, ...]
    flipped: tuple[Flip, ...]
    near_ties: NearTies | None = None
    cascade: bool = False
    maps: MapFidelity | None = None
    unfamiliar: RefusalAgreement | None = None
    controls: Controls = field(default_factory=dict)

    @property
    def refused(self) -> tuple[LimitCheck, ...]:
        """The checks that refuse the candidate."""
        return self._with(LimitVerdict.REFUSED)

    @property
    def passed(self) -> bool:
        """Whether no check refuses the candidate."""
        return not self.refused

    @property
    def refusals(self) -> tuple[str, ...]:
        """The broken limits, one sentence each."""
        return tuple(one.sentence for one in self.refused)

    @property
    def refusal(self) -> str:
        """The broken limits in one sentence."""
        return "; ".join(self.refusals)

    @property
    def cautions(self) -> tuple[str, ...]:
        """What the gate could not decide, one sentence each."""
        found = []
        if unclear := self._with(LimitVerdict.UNCLEAR):
            named = "; ".join(one.sentence for one in unclear)
            found.append(f"Beyond the limit, but within what chance can explain: {named}.")
        if too_few := self._with(LimitVerdict.TOO_FEW):
            named = ", ".join(f"{one.subject} ({one.patients})" for one in too_few)
            found.append(
                f"Not judged, because at least {MIN_PATIENTS} patients are required (number in "
                f"brackets): {named}."
            )
        if not self.thresholds:
            found.append(
                "Sensitivity was not compared: its operating thresholds require validation images, "
                "and none were given."
            )
        return tuple(found)

    @property
    def loosening(self) -> str:
        """The options that set the broken limits."""
        return ", ".join(dict.fromkeys(one.option for one in self.refused))

    @property
    def accuracy_fp32(self) -> float:
        """Accuracy of FP32."""
        return self._of(Measure.ACCURACY).fp32 or 0.0

    @property
    def accuracy(self) -> float:
        """Accuracy of the candidate."""
        return self._of(Measure.ACCURACY).candidate or 0.0

    @property
    def accuracy_difference_ci95(self) -> tuple[float, ...]:
        """Interval of the candidate's accuracy minus FP32's; empty if it is not defined."""
        return self._of(Measure.ACCURACY).ci95 or ()

    @property
    def agreement(self) -> float:
        """Share of images with the same top class."""
        return self._of(Measure.AGREEMENT).candidate or 0.0

    @property
    def logit_error(self) -> float:
        """Root mean square difference of the logits, as a share of FP32's root mean square."""
        return self._of(Measure.LOGIT_ERROR).candidate or 0.0

    def _with(self, verdict: LimitVerdict) -> tuple[LimitCheck, ...]:
        return tuple(one for one in self.checks if one.verdict is verdict)

    def _of(self, measure: Measure) -> LimitCheck:
        return next(one for one in self.checks if one.measure is measure)


def compare(
    reference: metrics.Floats,
    candidate: metrics.Floats,
    labels: metrics.Ints,
    patients: Sequence[str],
    limits: GateLimits,
    classes: Sequence[str] = (),
    validation: Validation | None = None,
    at_limit: Bools | None = None,
) -> GateResult:
    """Compare a candidate's logits with FP32's on the same images.

    Args:
        reference: float (N, classes), logits of FP32.
        candidate: float (N, classes), logits of the candidate.
        labels: int (N,).
        patients: The patient of each image; intervals resample patients.
        limits: Limits of the losses.
        classes: Class names; their indices by default.
        validation: Images for the operating thresholds; without them sensitivity is not compared.
        at_limit: bool (N,), images whose distance is so near the limit of familiar images that FP32
            decides them in a cascade; None without a limit.
    """
    near_ties = None
    if validation is not None:
        on_validation = (validation.reference, validation.candidate)
        near_ties = measure_near_ties(on_validation, (reference, candidate), labels, at_limit)
    names = classes or [str(number) for number in range(reference.shape[1])]
    pair = Paired(reference, candidate, labels, patients, names)
    found = measure_fidelity(pair, validation)
    return GateResult(
        checks=tuple(check(deviation, limits) for deviation in found.deviations),
        images=found.images,
        patients=found.patients,
        agreement_ci95=found.agreement_ci95,
        thresholds=found.thresholds,
        flipped=found.flipped,
        near_ties=near_ties,
    )


def with_refusals(
    result: GateResult,
    refusals: PairedRefusals | None,
    controls: PairedControls | None,
    limits: RefusalLimits,
) -> GateResult:
    """Return a result with the checks of refusals and controls.

    Args:
        result: Comparison of the logits.
        refusals: Refusals on the held-out images and the controls; None if the network refuses
            none.
        controls: Decisions on the controls; None without controls.
        limits: Limits on both.
    """
    deviations = [agreement_deviation(refusals)] if refusals else []
    deviations += control_deviations(controls) if controls else []
    return replace(
        result,
        checks=(*result.checks, *(check(deviation, limits) for deviation in deviations)),
        unfamiliar=refusal_agreement(refusals) if refusals else None,
        controls=called_by_candidate(controls) if controls else {},
    )
