"""The cards of models: exported FP32, FP16, and quantized INT8."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from cxredge.artifacts.card import ArtifactKind, Card
from cxredge.artifacts.quantization_record import LayerNoise, TimedStep
from cxredge.artifacts.records import Count, NonNegative, Share
from cxredge.gate.consistency import contradictions
from cxredge.gate.gate import GateResult
from cxredge.gate.limits import GateLimits
from cxredge.vocabulary import Correction, Dialect, Effort, JudgedOn, Precision, Split


@dataclass(frozen=True)
class ExportConfig:
    """Configuration of an export.

    Attributes:
        opset: Version of the ONNX operators.
        precision: FP32.
    """

    opset: Count
    precision: Precision = Precision.FP32


@dataclass(frozen=True)
class ExportFacts:
    """Results of an export.

    Attributes:
        parity_max_abs: Largest absolute difference of a logit from torch.
        size_bytes: Size of the ONNX file.
        test_accuracy_torch: Accuracy of the run on test images.
    """

    parity_max_abs: NonNegative
    size_bytes: Count
    test_accuracy_torch: Share


@dataclass(frozen=True)
class ExportedCard(Card[ExportConfig, ExportFacts]):
    """The card of an FP32 model."""

    kind: ClassVar[ArtifactKind] = ArtifactKind.MODEL
    precisions: ClassVar[tuple[Precision, ...]] = (Precision.FP32,)


@dataclass(frozen=True)
class HalfPrecisionConfig:
    """Configuration of a conversion to FP16."""

    precision: Precision = Precision.FP16


@dataclass(frozen=True)
class NoFacts:
    """No results."""


@dataclass(frozen=True)
class HalfPrecisionCard(Card[HalfPrecisionConfig, NoFacts]):
    """The card of an FP16 model."""

    kind: ClassVar[ArtifactKind] = ArtifactKind.MODEL
    precisions: ClassVar[tuple[Precision, ...]] = (Precision.FP16,)


@dataclass(frozen=True)
class QuantizationGoal:
    """Measures on validation images at which the quantization stops.

    Attributes:
        min_agreement: Minimum share of images with FP32's decision.
        max_logit_error: Largest error of the logits, as a share of FP32's.
    """

    min_agreement: Share
    max_logit_error: NonNegative


@dataclass(frozen=True)
class QuantizationConfig:
    """Configuration of a quantization.

    Attributes:
        precision: INT8.
        dialect: Representation of INT8 in ONNX.
        effort: Extent of the search.
        range_method: A range method, or ``best`` of those that the effort tries.
        equalise: Whether channels were equalised; None leaves it to the effort.
        centre: Whether clipped activations were tried centred; None leaves it to the effort.
        correction: Correction of each layer; None leaves it to the effort.
        goal: Stopping criterion.
        float_stem: Whether the first, cheap layers stay in float.
        split: Split on which INT8 is compared with FP32.
        gate: Limits of the gate.
        specificity: Specificity of the operating thresholds on validation images.
        calibration_images: Number of calibration images.
    """

    precision: Precision
    dialect: Dialect
    effort: Effort
    range_method: str
    equalise: bool | None
    centre: bool | None
    correction: Correction | None
    goal: QuantizationGoal
    float_stem: bool
    split: Split
    gate: GateLimits
    specificity: Share
    calibration_images: Count


@dataclass(frozen=True)
class QuantizationFacts:
    """Results of a quantization; written to ``quantization.json`` too.

    Attributes:
        agreement: Share of held-out images with FP32's decision.
        accuracy_fp32: Accuracy of FP32 on held-out images.
        accuracy_int8: Accuracy of INT8 on held-out images.
        size_bytes: Size of the INT8 file.
        size_bytes_fp32: Size of the FP32 file.
        judged_on: Images on which the steps were judged.
        chosen: The step that was chosen.
        in_float: Nodes that stay in float.
        steps: The steps in order.
        latency_ms_here_fp32: Median latency of FP32, measured with the steps.
        comparison: Result of the gate on held-out images.
        warnings: Warnings, in sentences.
        recommended: Precision to ship: INT8 if it passes the gate.
        layers: Noise of each layer, in graph order.
        seconds: Duration of the quantization.
        peak_rss_mb: Peak resident memory, in MB (10^6 bytes).
    """

    agreement: Share
    accuracy_fp32: Share
    accuracy_int8: Share
    size_bytes: Count
    size_bytes_fp32: Count
    judged_on: JudgedOn
    chosen: str
    in_float: tuple[str, ...]
    steps: tuple[TimedStep, ...]
    latency_ms_here_fp32: NonNegative
    comparison: GateResult
    warnings: tuple[str, ...]
    recommended: Precision
    layers: tuple[LayerNoise, ...]
    seconds: NonNegative
    peak_rss_mb: NonNegative


@dataclass(frozen=True)
class QuantizedCard(Card[QuantizationConfig, QuantizationFacts]):
    """The card of an INT8 model."""

    kind: ClassVar[ArtifactKind] = ArtifactKind.MODEL
    precisions: ClassVar[tuple[Precision, ...]] = (Precision.INT8,)

    def contradictions(self) -> Iterator[str]:
        """Yield what contradicts itself in the comparison with FP32, a clause each."""
        found = self.facts.comparison
        yield from contradictions(found, self.config.gate)
        repeated = {
            "agreement": found.agreement,
            "accuracy_fp32": found.accuracy_fp32,
            "accuracy_int8": found.accuracy,
        }
        for name, value in repeated.items():
            if getattr(self.facts, name) != value:
                yield f"'{name}' is {getattr(self.facts, name)}, but the comparison gives {value}"


MODEL_CARDS = (ExportedCard, HalfPrecisionCard, QuantizedCard)
