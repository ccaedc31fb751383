"""Settings of a quantization: what the user chose, and the plan of the search that follows."""

from __future__ import annotations

from dataclasses import dataclass, field

from cxredge.artifacts.model_card import QuantizationConfig, QuantizationGoal
from cxredge.gate.limits import GateLimits
from cxredge.quantization.fp32_comparison import StepMetrics
from cxredge.vocabulary import Correction, Dialect, Effort, Precision, RangeMethod, Split

_METHODS = {
    Effort.QUICK: (RangeMethod.MINMAX,),
    Effort.DEFAULT: (RangeMethod.MINMAX, RangeMethod.PERCENTILE, RangeMethod.MSE),
    Effort.EXTENSIVE: tuple(RangeMethod),
}
_MAX_LOGIT_ERROR = {Dialect.TENSORRT: 0.02, Dialect.CPU: 0.03}
"""Logit error at which the search stops. Float layers cost less on a GPU, where they run in FP16,
than on a CPU, where they run in FP32."""
_EXTENSIVE_LOGIT_ERROR = 0.005
"""Logit error at which an extensive search stops: that of FP16, which was 0.004 for MobileNet V1
and 0.005 for V2. Most searches end with half of the layers in float."""


@dataclass(frozen=True)
class Goal(QuantizationGoal):
    """Accuracy on validation images at which the search stops.

    Attributes:
        min_agreement: Minimum agreement with FP32, the share of images with the same decision.
        max_logit_error: Maximum error of the logits, relative to FP32's. A few hundred images
            contain few changed decisions; the logit error reveals a loss earlier.
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
        """Return a goal; None selects the logit error of the dialect and effort."""
        extensive = effort is Effort.EXTENSIVE
        default = _EXTENSIVE_LOGIT_ERROR if extensive else _MAX_LOGIT_ERROR[dialect]
        return cls(min_agreement, default if max_logit_error is None else max_logit_error)

    def is_met(self, found: StepMetrics) -> bool:
        """Return whether a step is accurate enough."""
        return found.agreement >= self.min_agreement and found.logit_error <= self.max_logit_error


@dataclass(frozen=True)
class QuantizationPlan:
    """Settings of a search.

    Attributes:
        dialect: The dialect of the INT8 graph.
        effort: Extent of the search.
        method: Range method; None for the best of those that the effort tries.
        equalise: Whether channels are equalised.
        centre: Whether clipped activations are also tried centred.
        correction: Correction of each layer.
        keep: Names of convolutions that stay in float from the start.
        goal: Stopping criterion.
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
        """Whether activations are quantized symmetrically, with zero point 0."""
        return self.dialect is Dialect.TENSORRT


@dataclass(frozen=True)
class QuantizeConfig:
    """Settings of a quantization, as the user chose them.

    Attributes:
        dialect: The dialect of the INT8 graph.
        effort: Extent of the search.
        method: Range method; None for the best of those that the effort tries.
        equalise: Whether channels are equalised; None for the effort's default.
        centre: Whether clipped activations are also tried centred, if layers are corrected; None
            for the default of dialect and effort.
        correction: Correction of each layer; None for the effort's default.
        goal: Stopping criterion on validation images; None for the default of dialect and effort.
        float_stem: Whether the first, cheap layers stay in float. Off for TensorRT, where layers
            between two number formats cost more than on a CPU.
        split: The split on which INT8 is compared with FP32.
        limits: Maximum loss of INT8. Limits decide the verdict on the card, not the model.
        specificity: Specificity of the operating thresholds on the manifest's validation images.
    """

    dialect: Dialect
    effort: Effort = Effort.DEFAULT
    method: RangeMethod | None = None
    equalise: bool | None = None
    centre: bool | None = None
    correction: Correction | None = None
    goal: Goal | None = None
    float_stem: bool = False
    split: Split = Split.TEST
    limits: GateLimits = field(default_factory=GateLimits)
    specificity: float = 0.9

    def plan(self, keep: frozenset[str]) -> QuantizationPlan:
        """Return the plan of the search, with these convolutions in float from the start."""
        quick = self.effort is Effort.QUICK
        centres = self.dialect is Dialect.TENSORRT and self.effort is Effort.EXTENSIVE
        return QuantizationPlan(
            self.dialect,
            self.effort,
            self.method,
            (not quick) if self.equalise is None else self.equalise,
            centres if self.centre is None else self.centre,
            self.correction or (Correction.BIASES if quick else Correction.WEIGHTS),
            keep,
            self._goal,
        )

    @property
    def _goal(self) -> Goal:
        return self.goal or Goal.of(self.dialect, self.effort)

    def record(self, calibration_images: int) -> QuantizationConfig:
        """Return the settings as the card of the model states them."""
        return QuantizationConfig(
            precision=Precision.INT8,
            dialect=self.dialect,
            effort=self.effort,
            range_method=self.method.value if self.method else "best",
            equalise=self.equalise,
            centre=self.centre,
            correction=self.correction,
            goal=self._goal,
            float_stem=self.float_stem,
            split=self.split,
            gate=self.limits,
            specificity=self.specificity,
            calibration_images=calibration_images,
        )
