"""Records of a quantization that cards, bundles and reports share: its steps and its layers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cxredge.artifacts.records import Count, NonNegative, Share
from cxredge.vocabulary import Dialect, Effort, JudgedOn


@dataclass(frozen=True)
class QuantizationStep:
    """One attempt of a quantization, judged against FP32.

    Attributes:
        step: Name of the step, such as ``equalised channels``.
        agreement: Share of images with the same decision as FP32.
        accuracy: Share of images decided correctly.
        logit_error: Root mean square error of the logits, relative to FP32's.
        size_bytes: Size of the INT8 file.
        in_float: Names of the convolutions and additions left in float.
    """

    step: str
    agreement: Share
    accuracy: Share
    logit_error: NonNegative
    size_bytes: Count
    in_float: tuple[str, ...]


@dataclass(frozen=True)
class TimedStep(QuantizationStep):
    """A step with the figures of the machine that quantized.

    Attributes:
        seconds: Time to make and judge the step.
        latency_ms_here: Median latency of one image in ONNX Runtime.
    """

    seconds: NonNegative
    latency_ms_here: NonNegative

    def untimed(self) -> QuantizationStep:
        """Return the step without the figures that differ between machines and runs."""
        return QuantizationStep(
            self.step,
            self.agreement,
            self.accuracy,
            self.logit_error,
            self.size_bytes,
            self.in_float,
        )


@dataclass(frozen=True)
class LayerNoise:
    """Quantization noise of one convolution.

    Attributes:
        name: Name of the node.
        reads: The activation that it reads.
        snr_db: Signal-to-noise ratio of its output in decibels; None if nothing differs.
        in_float: Whether it was left in float.
        clipped_to: Range over which the activation it reads is quantized; None if it is not.
        measured: Minimum and maximum of that activation on the calibration images.
        counts: Histogram of that activation, 48 bins of equal width over ``measured``; empty
            except for the noisiest layers.
    """

    name: str
    reads: str
    snr_db: float | None
    in_float: bool
    clipped_to: tuple[float, float] | None
    measured: tuple[float, float] | None
    counts: tuple[Count, ...] = ()

    def rounded(self) -> LayerNoise:
        """Return the record with its figures rounded as files hold them."""
        return replace(
            self,
            snr_db=None if self.snr_db is None else round(self.snr_db, 1),
            clipped_to=_significant(self.clipped_to),
            measured=_significant(self.measured),
        )


def _significant(limits: tuple[float, float] | None) -> tuple[float, float] | None:
    """Round both limits to four significant digits."""
    return limits and (float(f"{limits[0]:.4g}"), float(f"{limits[1]:.4g}"))


@dataclass(frozen=True)
class QuantizationSummary:
    """Settings and results of a quantization as the card of a bundle repeats them.

    Costs are left out: they differ from run to run. Attributes: as in
    :class:`QuantizationConfig` and :class:`QuantizationFacts`.
    """

    dialect: Dialect
    calibration_images: Count
    effort: Effort
    float_stem: bool
    judged_on: JudgedOn
    chosen: str
    in_float: tuple[str, ...]
    agreement: Share
    size_bytes: Count
    size_bytes_fp32: Count
    layers: tuple[LayerNoise, ...]
    steps: tuple[QuantizationStep, ...]
