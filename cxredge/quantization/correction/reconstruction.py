"""Layer after layer, weights and biases that make up for what quantization changes.

Each layer is corrected on what the quantized and corrected layers before it deliver, towards what
it gives in the FP32 network, in one walk over the graph
(:mod:`cxredge.quantization.correction.segments`).

- Biases: quantization shifts the mean of a channel; its bias shifts it back (Nagel et al. 2019,
  "Data-Free Quantization through Weight Equalization and Bias Correction", section 4.2.2).
- Weights: see :mod:`cxredge.quantization.correction.rounding`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from cxredge.data.images import GreyImage
from cxredge.graph.nodes import constants_of, copy_of, number_of
from cxredge.progress import Advance
from cxredge.quantization.correction.moments import moments_of
from cxredge.quantization.correction.rounding import (
    best_scales,
    fitted,
    min_max_scales,
    nearest,
    rounded,
)
from cxredge.quantization.correction.segments import Array, Segment, Walk
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.ranges.measure import Ranges
from cxredge.vocabulary import INPUT_NAME, Dialect

Scales = Mapping[str, npt.NDArray[np.float32]]

_MOST_POSITIONS, _LEAST_POSITIONS = 256, 64
"""Positions of each image that a layer's moments are taken over: one for each input, within these.
A depthwise layer has 9 to 49 inputs, whose moments a few thousand positions tell well enough."""
_MOST_INPUTS = 2304
"""Most inputs of a layer (channels x kernel) whose weights are corrected. The algebra grows with
their cube, and layers beyond, such as VGG19's last, average enough not to need it."""
_PULL = 3.0
"""How strongly weights stay at FP32's before they are rounded, as a share of the inputs' mean
variance. Of 0.3, 1, 3 and not moving them at all, on validation images of the full data, 3 left the
least error of MobileNet V1's logits (0.039 and 0.012 in TensorRT's and the CPU's dialect, against
0.042 and 0.014 with 0.3) and less of MobileNet V2's (0.035 against 0.037): less pull follows the
few images, more gives up what can be corrected."""


@dataclass(frozen=True)
class Reconstructed:
    """A model to emit, and the scales of its weights.

    Attributes:
        model: FP32 values; those of quantized layers lie on their grid.
        scales: By name of the weight's initializer, float32 (outputs,).
    """

    model: onnx.ModelProto
    scales: Scales


def reconstruct(
    model: onnx.ModelProto,
    ranges: Ranges,
    dialect: Dialect,
    pixels: GreyImage,
    advance: Advance,
    keep: Collection[str] = (),
    *,
    weights: bool = True,
) -> Reconstructed:
    """Correct every convolution of a model for its quantization.

    Args:
        model: The FP32 model.
        ranges: Ranges of its activations.
        dialect: The dialect it will be emitted in.
        pixels: uint8 (N, S, S) images; their activations are held in memory while they are needed,
            so a few dozen are enough.
        advance: Hears of convolutions done.
        keep: Names of nodes that stay in float; only their biases are corrected.
        weights: Correct weights too, but for the widest layers; else they are rounded to the
            nearest.
    """
    result = _with_biases(model)
    feeds = {INPUT_NAME: pixels[:, None]}
    reference = _Reference(result, feeds)
    walk = Walk(emit(result, ranges, dialect, float_bias=True, keep=keep), feeds)
    constants = constants_of(result.graph)
    nodes = {node.name: node for node in result.graph.node if node.op_type == "Conv"}
    changed: dict[str, Array] = {}
    scales: dict[str, npt.NDArray[np.float32]] = {}
    for segment in walk:
        node = segment.convolution
        if node is None:
            walk.run(segment)
            continue
        original = nodes[node.name]
        weight_name, bias_name = original.input[1], original.input[2]
        wanted = reference.output_of(node.name)
        weight, scale = constants[weight_name], None
        if node.name not in keep:
            weight, scale = _correct(
                node, walk.stored[node.input[0]], wanted, constants[weight_name], weights=weights
            )
            scales[weight_name] = scale
        bias = constants[bias_name].astype(np.float32)
        outputs = walk.run(segment, {node.input[1]: weight, node.input[2]: bias})
        difference = wanted - outputs[node.output[0]]
        shift = difference.mean(axis=(0, 2, 3), dtype=np.float64).astype(np.float32)
        outputs[node.output[0]] += shift[:, None, None]
        changed |= {weight_name: weight, bias_name: bias + shift}
        advance(1)
    for initializer in result.graph.initializer:
        if initializer.name in changed:
            values = changed[initializer.name]
            initializer.CopyFrom(numpy_helper.from_array(values, initializer.name))
    return Reconstructed(result, scales)


def _correct(
    node: onnx.NodeProto, inputs: Array, wanted: Array, weight: Array, *, weights: bool
) -> tuple[Array, npt.NDArray[np.float32]]:
    """Return a convolution's weight on its grid, and the scales of that."""
    groups = int(number_of(node, "group", 1))
    values = weight.astype(np.float64).reshape(groups, weight.shape[0] // groups, -1)
    if weights and values.shape[-1] <= _MOST_INPUTS:
        positions = min(max(values.shape[-1], _LEAST_POSITIONS), _MOST_POSITIONS)
        moments = moments_of(node, inputs, wanted, weight.shape[2:], positions)
        values = fitted(values, moments, _PULL)
        scales = best_scales(values, np.diagonal(moments.inputs, axis1=1, axis2=2))
        values = rounded(values, scales, moments.inputs)
    else:
        scales = min_max_scales(values)
        values = nearest(values, scales)
    return values.reshape(weight.shape).astype(np.float32), scales.ravel().astype(np.float32)


def count_convolutions(model: onnx.ModelProto) -> int:
    """Return how many convolutions a graph has."""
    return sum(node.op_type == "Conv" for node in model.graph.node)


class _Reference:
    """What each convolution gives in the FP32 network, computed as far as it is asked for."""

    def __init__(self, model: onnx.ModelProto, feeds: Mapping[str, Array]) -> None:
        self._walk = Walk(model, dict(feeds))
        self._left = iter(self._walk)
        self._waiting: dict[str, Array] = {}

    def output_of(self, name: str) -> Array:
        """Return a convolution's output, once."""
        while name not in self._waiting:
            segment: Segment = next(self._left)
            outputs = self._walk.run(segment)
            if segment.convolution is not None:
                self._waiting[segment.convolution.name] = outputs[segment.convolution.output[0]]
        return self._waiting.pop(name)


def _with_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which every convolution has a bias of its own to correct."""
    copy = copy_of(model)
    for node in copy.graph.node:
        if node.op_type == "Conv" and len(node.input) < 3:
            outputs = next(i.dims[0] for i in copy.graph.initializer if i.name == node.input[1])
            name = f"{node.name}_bias"
            zeros = np.zeros(outputs, np.float32)
            copy.graph.initializer.append(numpy_helper.from_array(zeros, name))
            node.input.append(name)
    return copy
