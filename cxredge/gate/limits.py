"""Limits of the gate, and the rules by which a measure breaks one.

Accuracy and agreement use all images, and must be within their limits as measured. Measures of one
class use the few images of that class, where a single lost image can exceed any useful limit. Such
a loss refuses the candidate only if it exceeds its limit *and* its paired 95% interval excludes
zero. The interval excludes zero from about four images lost and none gained: a draw misses all four
with probability e^-4 = 0.018, which is below 0.025. A loss beyond the limit that chance can explain
passes with a caution, and so does a class with too few patients for an interval.

The agreement of refusals breaks its limit if its interval does too. The rate of controls is not
compared with FP32's, but with its limit, as measured.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from typing import ClassVar

from cxredge.gate.fidelity import Deviation, Measure
from cxredge.metrics.number_types import Share

MIN_PATIENTS = 10
"""Minimum number of patients per measure: bootstrap intervals of fewer clusters are too narrow."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class GateLimits:
    """Largest losses against FP32 on held-out images, as shares (0.01 is one percentage point).

    Attributes:
        max_accuracy_drop: Largest loss of accuracy.
        min_agreement: Minimum agreement with FP32, the share of images with the same top class.
        max_auroc_drop: Largest loss of AUROC, of each class and of their mean.
        max_sensitivity_drop: Largest loss of sensitivity, of each class and of their mean, each
            precision at its own operating thresholds. Thresholds vary with the few hundred
            validation images that they are derived from, and trade sensitivity for specificity;
            five points leave room for that.
        max_calibration_error_rise: Largest rise of the expected calibration error.
    """

    max_accuracy_drop: Share = 0.01
    min_agreement: Share = 0.97
    max_auroc_drop: Share = 0.01
    max_sensitivity_drop: Share = 0.05
    max_calibration_error_rise: Share = 0.02


@dataclass(frozen=True)
class RefusalLimits:
    """Limits on controls, and on refusals of unfamiliar images.

    Attributes:
        max_control_rate: Largest share of the controls of a kind that a precision, FP32 too, calls
            a class and does not refuse; None for no limit.
        min_refusal_agreement: Smallest share of images that are refused as unfamiliar, or answered,
            as in FP32.
    """

    max_control_rate: Share | None = None
    min_refusal_agreement: Share = 0.97


ON_REFUSALS = (Measure.REFUSAL_AGREEMENT, Measure.CONTROL_RATE)
"""Measures of refusals, which controls count in too."""


class LimitVerdict(str, Enum):
    """Verdict of the gate on one measure."""

    HELD = "held"
    REFUSED = "refused"
    UNCLEAR = "unclear"
    TOO_FEW = "too few"
    NO_LIMIT = "no limit"


@dataclass(frozen=True)
class _Rule:
    """How a measure is compared with its limit."""

    limit: str
    words: str
    name: str
    rise_is_loss: bool = False
    as_measured: bool = False


_RULES = {
    Measure.ACCURACY: _Rule("max_accuracy_drop", "may drop by", "accuracy", as_measured=True),
    Measure.AGREEMENT: _Rule("min_agreement", "at least", "agreement", as_measured=True),
    Measure.AUROC: _Rule("max_auroc_drop", "may drop by", "AUROC"),
    Measure.SENSITIVITY: _Rule("max_sensitivity_drop", "may drop by", "sensitivity"),
    Measure.CALIBRATION_ERROR: _Rule(
        "max_calibration_error_rise", "may rise by", "calibration error", rise_is_loss=True
    ),
    Measure.REFUSAL_AGREEMENT: _Rule("min_refusal_agreement", "at least", "agreement of refusals"),
    Measure.CONTROL_RATE: _Rule("max_control_rate", "at most", "controls called a class"),
}
_AGAINST_ONE = (Measure.AGREEMENT, Measure.REFUSAL_AGREEMENT)
"""Measures whose limit is their smallest value, not a change."""


@dataclass(frozen=True)
class LimitCheck(Deviation):
    """A measure with its limit and verdict.

    Attributes:
        limit: The limit; None if the measure has none.
        verdict: The verdict.
    """

    JSON_KEYS: ClassVar = (
        *(each.name for each in fields(Deviation)), "subject", "limit", "limit_text", "verdict",
    )  # fmt: skip

    limit: float | None
    verdict: LimitVerdict

    @property
    def limit_text(self) -> str:
        """The limit in words, such as ``may drop by 0.01``."""
        rule = _RULES.get(self.measure)
        return f"{rule.words} {self.limit:g}" if rule and self.limit is not None else ""

    @property
    def option(self) -> str:
        """The option of the command line that sets the limit."""
        return f"--{_RULES[self.measure].limit.replace('_', '-')}"

    @property
    def subject(self) -> str:
        """What was measured, such as ``AUROC of covid19``."""
        rule, name = _RULES.get(self.measure), self.class_name
        words = rule.name if rule else self.measure.value.replace("_", " ")
        if name is not None:
            joint = ": " if self.measure is Measure.CONTROL_RATE else " of "
            return f"{words}{joint}{name}"
        by_class = self.measure in (Measure.AUROC, Measure.SENSITIVITY)
        return f"mean {words}" if by_class else words

    @property
    def sentence(self) -> str:
        """The values and the limit, in words."""
        if self.measure in (*_AGAINST_ONE, Measure.CONTROL_RATE):
            return f"{self.subject} {self.candidate:.4f} ({self.limit_text})"
        words = f"{self.subject} {self.candidate:.4f} against {self.fp32:.4f} in FP32"
        if self.measure is Measure.ACCURACY or self.ci95 is None:
            return f"{words} ({self.limit_text})"
        low, high = self.ci95
        return f"{words} ({self.limit_text}; 95% interval of the change {low:+.4f} to {high:+.4f})"


def check(deviation: Deviation, limits: GateLimits | RefusalLimits) -> LimitCheck:
    """Compare one measure with its limit; those of refusals have limits of their own."""
    rule = _RULES.get(deviation.measure)
    if rule is None:
        return LimitCheck(**vars(deviation), limit=None, verdict=LimitVerdict.NO_LIMIT)
    limit: float | None = getattr(limits, rule.limit)
    verdict = LimitVerdict.NO_LIMIT if limit is None else _verdict(deviation, rule, limit)
    return LimitCheck(**vars(deviation), limit=limit, verdict=verdict)


def _verdict(deviation: Deviation, rule: _Rule, limit: float) -> LimitVerdict:
    if deviation.difference is None or deviation.ci95 is None:
        return LimitVerdict.TOO_FEW
    if deviation.measure is Measure.CONTROL_RATE:
        rate = deviation.candidate or 0.0
        return LimitVerdict.HELD if rate <= limit + _ROUNDING else LimitVerdict.REFUSED
    loss = deviation.difference if rule.rise_is_loss else -deviation.difference
    allowed = 1 - limit if deviation.measure in _AGAINST_ONE else limit
    # The tolerance absorbs only the rounding of a difference of shares.
    held = loss <= allowed + _ROUNDING
    if rule.as_measured:
        return LimitVerdict.HELD if held else LimitVerdict.REFUSED
    if deviation.patients < MIN_PATIENTS:
        return LimitVerdict.TOO_FEW
    if held:
        return LimitVerdict.HELD
    low, high = deviation.ci95
    if deviation.measure is Measure.REFUSAL_AGREEMENT:
        # The largest agreement that chance can explain, as FP32 agrees with itself in all images.
        return LimitVerdict.UNCLEAR if -high <= allowed + _ROUNDING else LimitVerdict.REFUSED
    return LimitVerdict.UNCLEAR if low <= 0 <= high else LimitVerdict.REFUSED
