"""Scales and zero points of activations, weights and biases.

Quantization is affine, q = clamp(round_half_even(x / scale) + zero point), as ONNX defines
QuantizeLinear.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxredge.errors import CxredgeError
from cxredge.quantization.ranges.statistics import Ranges
from cxredge.vocabulary import Dialect

Floats = npt.NDArray[np.float32]

_LARGEST = 127
_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
# Half of the int32 range; the other half is left to the sum to which the bias is added.
_LARGEST_BIAS = 2**30


@dataclass(frozen=True)
class Parameters:
    """Quantization parameters of one tensor.

    Attributes:
        scale: float32; () for an activation, (C,) for a weight or bias.
        zero_point: uint8 or int8 for an activation, int8 for a weight, int32 for a bias; same shape
            as ``scale``.
        axis: Axis of the C channels; None for an activation.
    """

    scale: Floats
    zero_point: npt.NDArray[np.integer[Any]]
    axis: int | None = None

    def quantize(self, values: Floats) -> npt.NDArray[np.integer[Any]]:
        """Return a constant quantized as a runtime does it, in the type of the zero point."""
        limits = np.iinfo(self.zero_point.dtype)
        broadcast = [1] * values.ndim
        if self.axis is not None:
            broadcast[self.axis] = -1
        # Runtimes divide weights in float32; a quantized bias may exceed float32's precision.
        precision = np.float64 if limits.bits == 32 else np.float32
        integers = np.rint(np.divide(values, self.scale.reshape(broadcast), dtype=precision))
        integers += self.zero_point.reshape(broadcast)
        clamped: npt.NDArray[np.integer[Any]] = np.clip(integers, limits.min, limits.max).astype(
            limits.dtype
        )
        return clamped

    def saturates(self, low: float, high: float) -> bool:
        """Return whether quantization clamps values below ``low`` and above ``high``."""
        limits = np.iinfo(self.zero_point.dtype)
        ends = np.rint(np.array([low, high]) / self.scale) + self.zero_point
        return bool(ends[0] <= limits.min and ends[1] >= limits.max)


def activation_parameters(
    names: Iterable[str], ranges: Ranges, shared: Iterable[frozenset[str]], dialect: Dialect
) -> dict[str, Parameters]:
    """Return the parameters of activations.

    Args:
        names: Names of the activations.
        ranges: Their ranges.
        shared: Groups of activations that share one scale, that of the union of their ranges.
        dialect: TensorRT: symmetric int8; CPU: uint8 with a zero point.

    Raises:
        CxredgeError: A range is missing or not finite.
    """
    widest = {name: _range(name, ranges) for name in names}
    for group in shared:
        spans = [_range(name, ranges) for name in group]
        common = (min(low for low, _ in spans), max(high for _, high in spans))
        widest.update({name: common for name in group if name in widest})
    activation = _asymmetric if dialect is Dialect.CPU else _symmetric
    return {name: activation(*span) for name, span in widest.items()}


def weight_parameters(
    name: str, values: Floats, axis: int, given: Floats | None = None
) -> Parameters:
    """Return the parameters of a weight, symmetric and per channel.

    Args:
        name: Name of the initializer.
        values: float32, channels along ``axis``.
        axis: Axis of the output channels.
        given: float32 (C,) scales; None for max|w| / 127.

    Raises:
        CxredgeError: The weight or a given scale is not finite, or the number of scales differs
            from the number of channels.
    """
    if not np.isfinite(values).all():
        raise CxredgeError(f"The weight {name!r} has values that are not finite.", "Train again.")
    channels = values.shape[axis]
    if given is None:
        others = tuple(i for i in range(values.ndim) if i != axis)
        scales = np.abs(values).max(axis=others) / _LARGEST
    else:
        scales = np.asarray(given)
        if scales.shape != (channels,) or not (np.isfinite(scales) & (scales > 0)).all():
            raise CxredgeError(
                f"The scales of the weight {name!r}, of shape {scales.shape}, must be positive "
                f"and finite, one for each of its {channels} channels.",
                "Leave them out to use max|w| / 127.",
            )
    return Parameters(_positive(scales), np.zeros(channels, np.int8), axis)


def with_room_for_bias(weight: Parameters, activation: Parameters, bias: Floats) -> Parameters:
    """Raise the scales of channels whose weights are so small that the bias would overflow int32.

    Args:
        weight: Parameters of a convolution's weight. The scale of the bias is the weight's times
            the activation's.
        activation: Parameters of the convolution's input.
        bias: float32 (C,).
    """
    least = np.abs(bias.astype(np.float64)) / (float(activation.scale) * _LARGEST_BIAS)
    raised = np.maximum(weight.scale, least).astype(np.float32)
    return Parameters(raised, weight.zero_point, weight.axis)


def bias_parameters(weight: Parameters, activation: Parameters) -> Parameters:
    """Return the parameters of a convolution's bias: int32 with the scale of the accumulator."""
    zeros = np.zeros(weight.scale.shape, np.int32)
    return Parameters(weight.scale * activation.scale, zeros, 0)


def _range(name: str, ranges: Ranges) -> tuple[float, float]:
    if name not in ranges:
        raise CxredgeError(
            f"There is no range for {name!r}, which must be quantized.",
            "Ranges must be measured on this same graph, with inferable shapes.",
        )
    low, high = ranges[name]
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise CxredgeError(
            f"The range of {name!r} is {low} to {high}; it must be finite and ascending.",
            "Check the model: cxredge evaluate",
        )
    return low, high


def _symmetric(low: float, high: float) -> Parameters:
    scale = max(-low, high, 0.0) / _LARGEST
    return Parameters(_harmless(scale, 1 / _LARGEST), np.zeros((), np.int8))


def _asymmetric(low: float, high: float) -> Parameters:
    low, high = min(low, 0.0), max(high, 0.0)
    scale = _harmless((high - low) / 255, 1 / 255)
    zero_point = np.clip(np.rint(-low / scale), 0, 255)
    return Parameters(scale, np.array(zero_point, np.uint8))


def _harmless(scale: float, instead: float) -> Floats:
    """Return a scale, or ``instead`` for a tensor that was always zero."""
    return np.array(scale if scale >= _SMALLEST_SCALE else instead, np.float32)


def _positive(scales: npt.NDArray[np.float32]) -> Floats:
    """Replace the scales of all-zero channels by the smallest of the others.

    Any scale suits zero weights; a small one makes the int32 bias precise.
    """
    used = scales >= _SMALLEST_SCALE
    smallest = scales[used].min() if used.any() else 1 / _LARGEST
    return np.where(used, scales, smallest).astype(np.float32)
