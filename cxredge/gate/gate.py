"""The gate: whether INT8 still does the job of FP32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cxredge.errors import ArtifactError
from cxredge.gate.fidelity import Deviation, Flip, Measure, Paired, measure_fidelity
from cxredge.gate.limits import MIN_PATIENTS, GateLimits, LimitCheck, LimitVerdict, check
from cxredge.gate.thresholds import Drift, Validation
from cxredge.metrics import classification as metrics
from cxredge.metrics.near_ties import NearTies, measure_near_ties

__all__ = ["GateLimits", "GateResult", "Validation", "compare"]


@dataclass(frozen=True)
class GateResult:
    """A comparison with FP32 on the same images, and whether the candidate may ship.

    Attributes:
        checks: Every measure with its limit and verdict.
        images: Number of images compared.
        patients: Number of their patients.
        agreement_ci95: Wilson interval of the share of images with the same top class.
        thresholds: Operating thresholds of both precisions with the drift, by class.
        flipped: The images decided otherwise.
        near_ties: What it brings that FP32 decides the candidate's near ties; None without
            validation images.
        cascade: Whether FP32 does so where the candidate serves. The figures above and the verdict
            are of the candidate by itself: what loses too much is refused, whatever FP32 makes up
            for.
    """

    checks: tuple[LimitCheck, ...]
    images: int
    patients: int
    agreement_ci95: metrics.Interval
    thresholds: tuple[Drift, ...]
    flipped: tuple[Flip, ...]
    near_ties: NearTies | None = None
    cascade: bool = False

    @property
    def refused(self) -> tuple[LimitCheck, ...]:
        """The checks that do not hold."""
        return self._with(LimitVerdict.REFUSED)

    @property
    def passed(self) -> bool:
        """Whether nothing refuses."""
        return not self.refused

    @property
    def refusal(self) -> str:
        """What does not hold, in words."""
        return "; ".join(one.sentence for one in self.refused)

    @property
    def cautions(self) -> tuple[str, ...]:
        """What the gate could not judge, in sentences."""
        found = []
        if unclear := self._with(LimitVerdict.UNCLEAR):
            named = "; ".join(one.sentence for one in unclear)
            found.append(f"Beyond the limit, though chance could explain it: {named}.")
        if too_few := self._with(LimitVerdict.TOO_FEW):
            named = ", ".join(f"{one.subject} ({one.deviation.patients})" for one in too_few)
            found.append(
                f"Not judged, for it takes {MIN_PATIENTS} patients (in brackets: how many there "
                f"are): {named}."
            )
        if not self.thresholds:
            found.append(
                "Sensitivity was not compared: there were no validation images to derive operating "
                "thresholds from."
            )
        return tuple(found)

    @property
    def loosening(self) -> str:
        """The options that set the limits which do not hold."""
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
    def agreement(self) -> float:
        """Share of images with the same top class."""
        return self._of(Measure.AGREEMENT).candidate or 0.0

    @property
    def logit_error(self) -> float:
        """Root mean square difference of the logits over that of FP32's own."""
        return self._of(Measure.LOGIT_ERROR).candidate or 0.0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> GateResult:
        """Return what :meth:`to_json` wrote down.

        Raises:
            ArtifactError: It was written by a version whose gate measured something else.
        """
        try:
            low, high = values["agreement_ci95"]
            near_ties = values.get("near_ties")
            return cls(
                checks=tuple(LimitCheck.from_json(row) for row in values["checks"]),
                images=values["images"],
                patients=values["patients"],
                agreement_ci95=(low, high),
                thresholds=tuple(Drift(**drift) for drift in values["thresholds"]),
                flipped=tuple(Flip(**flip) for flip in values["flipped"]),
                near_ties=NearTies.from_json(near_ties) if near_ties else None,
                cascade=values.get("cascade", False),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                "The gate's result is of another version of cxredge "
                f"({type(error).__name__}: {error}).",
                "Build again with this version: cxredge build RUN_OR_MODEL --out BUNDLE",
            ) from None

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        accuracy = self._of(Measure.ACCURACY)
        return {
            "passed": self.passed,
            "refusals": [one.sentence for one in self.refused],
            "cautions": list(self.cautions),
            "images": self.images,
            "patients": self.patients,
            "accuracy_fp32": self.accuracy_fp32,
            "accuracy": self.accuracy,
            "accuracy_difference_ci95": list(accuracy.ci95 or ()),
            "agreement": self.agreement,
            "agreement_ci95": list(self.agreement_ci95),
            "logit_error": self.logit_error,
            "checks": [one.to_json() for one in self.checks],
            "thresholds": [asdict(drift) for drift in self.thresholds],
            "flipped": [asdict(flip) for flip in self.flipped],
            "near_ties": self.near_ties.to_json() if self.near_ties else None,
            "cascade": self.cascade,
        }

    def _with(self, verdict: LimitVerdict) -> tuple[LimitCheck, ...]:
        return tuple(one for one in self.checks if one.verdict is verdict)

    def _of(self, measure: Measure) -> Deviation:
        return next(one.deviation for one in self.checks if one.deviation.measure is measure)


def compare(
    reference: metrics.Floats,
    candidate: metrics.Floats,
    labels: metrics.Ints,
    patients: Sequence[str],
    limits: GateLimits,
    classes: Sequence[str] = (),
    validation: Validation | None = None,
) -> GateResult:
    """Compare a candidate's logits with FP32's on the same images.

    Args:
        reference: float (N, classes), logits of FP32.
        candidate: float (N, classes), logits of the candidate.
        labels: int (N,).
        patients: The patient of each image; intervals resample patients.
        limits: What may be lost.
        classes: Class names; their numbers when not given.
        validation: Where operating thresholds come from; without it sensitivity is not compared.
    """
    near_ties = None
    if validation is not None:
        on_validation = (validation.reference, validation.candidate)
        near_ties = measure_near_ties(on_validation, (reference, candidate), labels)
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
