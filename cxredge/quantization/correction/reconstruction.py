"""Layer-wise reconstruction: corrects weights and biases for the errors of quantization.

Each layer is corrected on the outputs of the quantized and corrected layers before it, towards its
output in the FP32 network, in one pass over the graph
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
from cxredge.quantization.correction.moments import layer_moments
from cxredge.quantization.correction.rounding import (
    best_scales,
    least_squares_weights,
    min_max_scales,
    round_compensated,
    round_nearest,
)
from cxredge.quantization.correction.segments import Array, Segment, SegmentRunner
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.ranges.statistics import Ranges
from cxredge.vocabulary import INPUT_NAME, Dialect

Scales = Mapping[str, npt.NDArray[np.float32]]

_MAX_POSITIONS, _MIN_POSITIONS = 256, 64
"""Limits of the number of positions per image over which a layer's moments are estimated; between
them, it is the number of inputs. A depthwise layer has 9 to 49 inputs, for whose moments a few
thousand positions suffice."""
_MAX_INPUTS = 2304
"""Maximum number of inputs (channels x kernel) of a layer whose weights are corrected. The cost is
cubic in it; larger layers, such as VGG19's last, average out enough rounding errors."""
_PULL = 3.0
"""Regularisation towards the FP32 weights before rounding, relative to the mean input variance. Of
0.3, 1, 3 and infinity, on validation images of the full data, 3 left the smallest logit error of
MobileNet V1 (0.039 and 0.012 in TensorRT's and the CPU's dialect; 0.042 and 0.014 with 0.3) and a
smaller one of MobileNet V2 (0.035; 0.037 with 0.3). A smaller value overfits the few images, a
larger one corrects less."""


@dataclass(frozen=True)
class CorrectedModel:
    """A model to emit, with the scales of its weights.

    Attributes:
        model: FP32 model; the weights of quantized layers lie on their quantization grid.
        scales: Scales of each corrected weight, float32 (outputs,), by name of the initializer.
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
) -> CorrectedModel:
    """Correct every convolution of a model for its quantization.

    Args:
        model: The FP32 model.
        ranges: Ranges of its activations.
        dialect: The dialect in which it will be emitted.
        pixels: uint8 (N, S, S) images; a few dozen, as their activations are kept in memory while
            they are needed.
        advance: Progress listener, counting convolutions.
        keep: Names of nodes that stay in float; only their biases are corrected.
        weights: Whether to correct weights too, except in the widest layers; otherwise they are
            rounded to the nearest level.
    """
    result = _with_biases(model)
    feeds = {INPUT_NAME: pixels[:, None]}
    reference = _Reference(result, feeds)
    runner = SegmentRunner(emit(result, ranges, dialect, float_bias=True, keep=keep), feeds)
    constants = constants_of(result.graph)
    nodes = {node.name: node for node in result.graph.node if node.op_type == "Conv"}
    changed: dict[str, Array] = {}
    scales: dict[str, npt.NDArray[np.float32]] = {}
    for segment in runner:
        node = segment.convolution
        if node is None:
            runner.run(segment)
            continue
        original = nodes[node.name]
        weight_name, bias_name = original.input[1], original.input[2]
        target = reference.output_of(node.name)
        weight, scale = constants[weight_name], None
        if node.name not in keep:
            weight, scale = _correct(
                node, runner.stored[node.input[0]], target, constants[weight_name], weights=weights
            )
            scales[weight_name] = scale
        bias = constants[bias_name].astype(np.float32)
        outputs = runner.run(segment, {node.input[1]: weight, node.input[2]: bias})
        difference = target - outputs[node.output[0]]
        shift = difference.mean(axis=(0, 2, 3), dtype=np.float64).astype(np.float32)
        outputs[node.output[0]] += shift[:, None, None]
        changed |= {weight_name: weight, bias_name: bias + shift}
        advance(1)
    for initializer in result.graph.initializer:
        if initializer.name in changed:
            values = changed[initializer.name]
            initializer.CopyFrom(numpy_helper.from_array(values, initializer.name))
    return CorrectedModel(result, scales)


def _correct(
    node: onnx.NodeProto, inputs: Array, target: Array, weight: Array, *, weights: bool
) -> tuple[Array, npt.NDArray[np.float32]]:
    """Return a convolution's weight on its quantization grid, and its scales."""
    groups = int(number_of(node, "group", 1))
    values = weight.astype(np.float64).reshape(groups, weight.shape[0] // groups, -1)
    if weights and values.shape[-1] <= _MAX_INPUTS:
        positions = min(max(values.shape[-1], _MIN_POSITIONS), _MAX_POSITIONS)
        moments = layer_moments(node, inputs, target, weight.shape[2:], positions)
        values = least_squares_weights(values, moments, _PULL)
        scales = best_scales(values, np.diagonal(moments.inputs, axis1=1, axis2=2))
        values = round_compensated(values, scales, moments.inputs)
    else:
        scales = min_max_scales(values)
        values = round_nearest(values, scales)
    return values.reshape(weight.shape).astype(np.float32), scales.ravel().astype(np.float32)


def count_convolutions(model: onnx.ModelProto) -> int:
    """Return the number of convolutions in a graph."""
    return sum(node.op_type == "Conv" for node in model.graph.node)


class _Reference:
    """Outputs of the convolutions of the FP32 network, computed on demand."""

    def __init__(self, model: onnx.ModelProto, feeds: Mapping[str, Array]) -> None:
        self._runner = SegmentRunner(model, dict(feeds))
        self._left = iter(self._runner)
        self._waiting: dict[str, Array] = {}

    def output_of(self, name: str) -> Array:
        """Return a convolution's output and release it."""
        while name not in self._waiting:
            segment: Segment = next(self._left)
            outputs = self._runner.run(segment)
            if segment.convolution is not None:
                self._waiting[segment.convolution.name] = outputs[segment.convolution.output[0]]
        return self._waiting.pop(name)


def _with_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which every convolution has a bias."""
    copy = copy_of(model)
    for node in copy.graph.node:
        if node.op_type == "Conv" and len(node.input) < 3:
            outputs = next(i.dims[0] for i in copy.graph.initializer if i.name == node.input[1])
            name = f"{node.name}_bias"
            zeros = np.zeros(outputs, np.float32)
            copy.graph.initializer.append(numpy_helper.from_array(zeros, name))
            node.input.append(name)
    return copy
