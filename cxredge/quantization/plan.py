"""What a climb of the ladder may do, and where it stops."""

from __future__ import annotations

from dataclasses import dataclass, field

from cxredge.quantization.judge import Judgement
from cxredge.vocabulary import Correction, Dialect, Effort, RangeMethod

_METHODS = {
    Effort.QUICK: (RangeMethod.MINMAX,),
    Effort.DEFAULT: (RangeMethod.MINMAX, RangeMethod.PERCENTILE, RangeMethod.MSE),
    Effort.EXTENSIVE: tuple(RangeMethod),
}
_MAX_LOGIT_ERROR = {Dialect.TENSORRT: 0.02, Dialect.CPU: 0.03}
"""What a climb aims at. Layers in float cost a GPU less, where they run in FP16, than a CPU, where
they run in FP32."""
_EXTENSIVE_LOGIT_ERROR = 0.005
"""What an extensive climb aims at: as near to FP32 as FP16 comes, which moved logits by 0.004
(MobileNet V1) and 0.005 (V2). Mostly it ends with half of the layers in float."""


@dataclass(frozen=True)
class Goal:
    """When to stop climbing, on validation images.

    Attributes:
        min_agreement: Least share of images decided as FP32 does.
        max_logit_error: Largest error of the logits, as a share of FP32's. A few hundred images
            say little about rare flips; how far logits move says it earlier.
    """

    min_agreement: float = 0.99
    max_logit_error: float = _MAX_LOGIT_ERROR[Dialect.CPU]

    @classmethod
    def of(
        cls,
        dialect: Dialect,
        effort: Effort = Effort.DEFAULT,
        min_agreement: float = 0.99,
        max_logit_error: float | None = None,
    ) -> Goal:
        """Return a goal; None for the largest error that the effort allows in the dialect."""
        extensive = effort is Effort.EXTENSIVE
        own = _EXTENSIVE_LOGIT_ERROR if extensive else _MAX_LOGIT_ERROR[dialect]
        return cls(min_agreement, own if max_logit_error is None else max_logit_error)

    def met(self, found: Judgement) -> bool:
        """Whether a rung is good enough."""
        return found.agreement >= self.min_agreement and found.logit_error <= self.max_logit_error


@dataclass(frozen=True)
class Plan:
    """What a climb may do.

    Attributes:
        dialect: How INT8 is written.
        effort: How many rungs are tried.
        method: How ranges are chosen; None for the best of those that the effort tries.
        equalise: Whether channels are equalised.
        centre: Whether clipped activations are also tried centred.
        correction: What is corrected in each layer.
        keep: Convolutions that stay in float from the start.
        goal: When to stop.
    """

    dialect: Dialect
    effort: Effort = Effort.DEFAULT
    method: RangeMethod | None = None
    equalise: bool = True
    centre: bool = False
    correction: Correction = Correction.WEIGHTS
    keep: frozenset[str] = frozenset()
    goal: Goal = field(default_factory=Goal)

    @property
    def methods(self) -> tuple[RangeMethod, ...]:
        """The range methods to try."""
        return (self.method,) if self.method else _METHODS[self.effort]

    @property
    def symmetric(self) -> bool:
        """Whether activations have their zero in the middle."""
        return self.dialect is Dialect.TENSORRT
