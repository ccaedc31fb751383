"""Scales and zero points: from ranges and weights to the numbers that are written.

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
from cxredge.quantization.ranges.measure import Ranges
from cxredge.vocabulary import Dialect

Floats = npt.NDArray[np.float32]

_LARGEST = 127
_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
# Half of what int32 holds, which leaves the other half to the sum that is added to it.
_LARGEST_BIAS = 2**30


@dataclass(frozen=True)
class Parameters:
    """How one tensor is quantized.

    Attributes:
        scale: float32; () for an activation, (C,) for a weight or bias.
        zero_point: uint8 or int8 for an activation, int8 for a weight, int32 for a bias; of the
            same shape.
        axis: The axis of the C channels; None for an activation.
    """

    scale: Floats
    zero_point: npt.NDArray[np.integer[Any]]
    axis: int | None = None

    def steps(self, values: Floats) -> npt.NDArray[np.integer[Any]]:
        """Return a constant as a runtime would quantize it, in the type of the zero point."""
        limits = np.iinfo(self.zero_point.dtype)
        broadcast = [1] * values.ndim
        if self.axis is not None:
            broadcast[self.axis] = -1
        # Weights as runtimes divide them; a bias may have more steps than float32 has digits.
        precision = np.float64 if limits.bits == 32 else np.float32
        steps = np.rint(np.divide(values, self.scale.reshape(broadcast), dtype=precision))
        steps += self.zero_point.reshape(broadcast)
        clamped: npt.NDArray[np.integer[Any]] = np.clip(steps, limits.min, limits.max).astype(
            limits.dtype
        )
        return clamped

    def saturates(self, low: float, high: float) -> bool:
        """Whether quantization clamps no later than at ``low`` and ``high`` itself."""
        limits = np.iinfo(self.zero_point.dtype)
        ends = np.rint(np.array([low, high]) / self.scale) + self.zero_point
        return bool(ends[0] <= limits.min and ends[1] >= limits.max)


def of_activations(
    names: Iterable[str], ranges: Ranges, shared: Iterable[frozenset[str]], dialect: Dialect
) -> dict[str, Parameters]:
    """Return the parameters of activations.

    Args:
        names: The activations.
        ranges: Their ranges.
        shared: Groups of activations that take one scale, for the widest range among them.
        dialect: int8 around zero for TensorRT, uint8 with a zero point for CPUs.

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


def of_weight(name: str, values: Floats, axis: int, given: Floats | None = None) -> Parameters:
    """Return the parameters of a weight, symmetric and by channel.

    Args:
        name: Of the initializer.
        values: float32, channels along ``axis``.
        axis: Of the output channels.
        given: float32 (C,) scales, instead of max|w| / 127.

    Raises:
        CxredgeError: The weight or a given scale is not finite, or there is not one a channel.
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
                f"and finite and one for each of its {channels} channels.",
                "Leave them out to use max|w| / 127.",
            )
    return Parameters(_positive(scales), np.zeros(channels, np.int8), axis)


def with_room_for_bias(weight: Parameters, activation: Parameters, bias: Floats) -> Parameters:
    """Raise scales of channels whose weights are so small that the bias would overflow int32.

    Args:
        weight: Of a convolution; the bias has its scale times the activation's.
        activation: Of the convolution's input.
        bias: float32 (C,).
    """
    least = np.abs(bias.astype(np.float64)) / (float(activation.scale) * _LARGEST_BIAS)
    raised = np.maximum(weight.scale, least).astype(np.float32)
    return Parameters(raised, weight.zero_point, weight.axis)


def of_bias(weight: Parameters, activation: Parameters) -> Parameters:
    """Return the parameters of a convolution's bias: int32 in the unit of the sums it joins."""
    zeros = np.zeros(weight.scale.shape, np.int32)
    return Parameters(weight.scale * activation.scale, zeros, 0)


def _range(name: str, ranges: Ranges) -> tuple[float, float]:
    if name not in ranges:
        raise CxredgeError(
            f"There is no range for {name!r}, which has to be quantized.",
            "Ranges must be measured on this very graph, with the graph's shapes known.",
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
    """Return a scale; a tensor that was always zero gets that of a range that ends at one."""
    return np.array(scale if scale >= _SMALLEST_SCALE else instead, np.float32)


def _positive(scales: npt.NDArray[np.float32]) -> Floats:
    """Replace scales of channels without weights by the smallest of the others.

    Any would do for the weights; a small one lets an int32 bias be exact.
    """
    used = scales >= _SMALLEST_SCALE
    smallest = scales[used].min() if used.any() else 1 / _LARGEST
    return np.where(used, scales, smallest).astype(np.float32)
