"""What a quantization is asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from cxredge.gate.limits import GateLimits
from cxredge.quantization.plan import Goal, Plan
from cxredge.vocabulary import Correction, Dialect, Effort, RangeMethod, Split


@dataclass(frozen=True)
class QuantizeConfig:
    """The settings of one quantization.

    Attributes:
        dialect: How INT8 is written.
        effort: How much is tried.
        method: How ranges are chosen; None for the best that the effort tries.
        equalise: Whether channels are equalised; None leaves it to the effort.
        centre: Whether clipped activations are also tried centred, where layers are corrected;
            None leaves it to dialect and effort.
        correction: What is corrected in each layer; None leaves it to the effort.
        goal: When to stop trying, on validation images; None for the dialect's and effort's.
        float_stem: Whether the first, cheap layers stay in float. Off for TensorRT, where layers
            between two number formats cost more than they do on a CPU.
        split: The split that INT8 is compared with FP32 on.
        limits: What INT8 may lose; they decide the verdict on the card, not the model.
        specificity: What operating thresholds reach on the manifest's validation images.
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

    def plan(self, keep: frozenset[str]) -> Plan:
        """Return what the climb may do, with these convolutions in float from the start."""
        quick = self.effort is Effort.QUICK
        centres = self.dialect is Dialect.TENSORRT and self.effort is Effort.EXTENSIVE
        return Plan(
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

    def to_json(self) -> dict[str, Any]:
        """Return what decides the model, as JSON values."""
        return {
            "precision": "int8",
            "dialect": self.dialect.value,
            "effort": self.effort.value,
            "range_method": self.method.value if self.method else "best",
            "equalise": self.equalise,
            "centre": self.centre,
            "correction": self.correction.value if self.correction else None,
            "goal": asdict(self._goal),
            "float_stem": self.float_stem,
            "split": self.split.value,
            "gate": asdict(self.limits),
            "specificity": self.specificity,
        }
