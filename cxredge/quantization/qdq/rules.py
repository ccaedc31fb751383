"""The rules of each dialect: one function per rule, which yields the violating nodes and why.

TensorRT's rules are those of its importer and developer guide (explicit quantization). The CPU's
rules are the conditions under which ONNX Runtime fuses nodes into an integer kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any

import numpy as np
import onnx

from cxredge.graph.index import WEIGHT_AXES, GraphIndex
from cxredge.graph.nodes import floats, number_of
from cxredge.vocabulary import Dialect

# TensorRT 8.5 reads opsets up to 17, 10.0 up to 20; FP16 scales require 19.
NEWEST_FP32_OPSET, OLDEST_FP16_OPSET, NEWEST_FP16_OPSET = 17, 19, 20

Broken = Iterator[tuple[onnx.NodeProto, str]]


class Rule(str, Enum):
    """Rules of the dialects."""

    THREE_INPUTS = "three-inputs"
    SCALE = "scale"
    INTEGER_TYPE = "integer-type"
    ZERO_POINT = "zero-point"
    CHANNELS = "channels"
    WEIGHT = "weight"
    BIAS = "bias"
    RESIDUAL = "residual"
    CONCAT = "concat"
    OPSET = "opset"


def broken_opset(model: onnx.ModelProto, index: GraphIndex) -> list[str]:
    """Return why TensorRT versions that read such a graph do not support its opset."""
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    scales = (index.constants.get(_input(node, 1)) for node in _linear(index))
    half = any(scale is not None and scale.dtype == np.float16 for scale in scales)
    if half and not OLDEST_FP16_OPSET <= opset <= NEWEST_FP16_OPSET:
        return [f"opset {opset}; FP16 scales need {OLDEST_FP16_OPSET} to {NEWEST_FP16_OPSET}"]
    if not half and opset > NEWEST_FP32_OPSET:
        return [f"opset {opset}; TensorRT 8.5 reads up to {NEWEST_FP32_OPSET}"]
    return []


def _three_inputs(index: GraphIndex) -> Broken:
    for node in _linear(index):
        count = sum(1 for name in node.input if name)
        if count != 3:
            yield node, f"{count} inputs; input, scale and zero point are all required"


def _scale(index: GraphIndex) -> Broken:
    for node in _linear(index):
        scale = index.constants.get(_input(node, 1))
        if scale is None:
            yield node, f"its scale {_input(node, 1)!r} is not an initializer"
        elif not (np.isfinite(floats(scale)) & (floats(scale) > 0)).all():
            yield node, "its scale is not positive and finite"


def _int8(index: GraphIndex) -> Broken:
    for node in _linear(index):
        kind = _zero_point_type(node, index)
        if kind not in (None, "int8", "int32"):  # the rule for biases checks int32
            yield node, f"its integers are {kind}; TensorRT computes with int8"


def _uint8(index: GraphIndex) -> Broken:
    for node in _linear(index):
        kind = _zero_point_type(node, index)
        stored = node.input[0] in index.constants
        expected = ("int8", "int32") if stored else ("uint8",)
        if kind is not None and kind not in expected:
            what = "stored constant" if stored else "activation"
            yield node, f"its integers are {kind}; a {what} must be {' or '.join(expected)}"


def _zero_point_zero(index: GraphIndex) -> Broken:
    yield from _zero_point(index, lambda node: True)


def _zero_point_of_constants(index: GraphIndex) -> Broken:
    yield from _zero_point(index, lambda node: node.input[0] in index.constants)


def _zero_point(index: GraphIndex, must_be_zero: Callable[[onnx.NodeProto], bool]) -> Broken:
    for node in _linear(index):
        name = _input(node, 2)
        if name and name not in index.constants:
            yield node, f"its zero point {name!r} is not an initializer"
        elif name and must_be_zero(node) and np.any(index.constants[name] != 0):
            yield node, "its zero point is not 0"


def _channels(index: GraphIndex) -> Broken:
    axes = {
        producer.output[0]: (WEIGHT_AXES[node.op_type] if position == 1 else 0)
        for node in index.graph.node
        if node.op_type in WEIGHT_AXES
        for position in (1, 2)
        for producer in _chain(_input(node, position), index)
    }
    for node in _linear(index):
        scale = index.constants.get(_input(node, 1))
        if scale is None or scale.size == 1:
            continue
        source = _source(node, index)
        if source not in index.constants:
            yield node, f"{scale.size} scales for an activation, which must have one"
            continue
        shape = index.constants[source].shape
        axis = int(number_of(node, "axis", 1))
        expected = axes.get(node.output[0], axis)
        if axis != expected:
            yield node, f"its channels are on axis {axis}, not {expected}"
        elif scale.shape != (shape[axis],):
            yield node, f"{scale.size} scales for {shape[axis]} channels"


def _weight_quantized_at_build(index: GraphIndex) -> Broken:
    for node, made in _quantized_inputs(index, 1):
        if [n.op_type for n in made] != ["DequantizeLinear", "QuantizeLinear"]:
            yield (
                node,
                "its weight is stored in int8; TensorRT 8 quantizes FP32 weights itself",
            )
        elif (values := index.constants.get(made[-1].input[0])) is None:
            yield node, f"its weight comes from {made[-1].input[0]!r}, which is not an initializer"
        elif values.dtype.kind != "f":
            yield node, f"its weight is quantized from {values.dtype}, not from floats"


def _weight_stored(index: GraphIndex) -> Broken:
    for node, made in _quantized_inputs(index, 1):
        if len(made) != 1 or made[0].input[0] not in index.constants:
            yield node, "its weight is not stored as integers, so the float kernel would run"


def _no_quantized_bias(index: GraphIndex) -> Broken:
    for node, _ in _quantized_inputs(index, 2):
        yield node, "its bias is quantized; TensorRT requires float biases"


def _bias_scale(index: GraphIndex) -> Broken:
    for node, made in _quantized_inputs(index, 2):
        sources = [_chain(_input(node, position), index) for position in (0, 1)]
        scales: list[Any] = [index.constants.get(_input(n[0], 1)) for n in (*sources, made) if n]
        if _zero_point_type(made[0], index) != "int32":
            yield node, "its bias is not stored as int32"
        elif len(scales) != 3 or any(scale is None for scale in scales):
            yield node, "its bias is quantized, but its input or its weight is not"
        elif scales[2].shape != scales[1].shape:
            yield node, f"its bias has {scales[2].size} scales, its weight {scales[1].size}"
        elif not np.allclose(scales[2], scales[0] * scales[1], rtol=1e-5, atol=0):
            yield node, "the scale of its bias is not that of its input times that of its weight"


def _residual(index: GraphIndex) -> Broken:
    for node in index.graph.node:
        if node.op_type != "Add":
            continue
        sums = [name for name in node.input if index.ends_convolution(_before_pair(name, index))]
        if sums and all(_chain(name, index) for name in sums):
            yield (
                node,
                "all the convolutions that it adds are quantized first, so it cannot be fused",
            )


def _concat(index: GraphIndex) -> Broken:
    for node in index.graph.node:
        made = [_chain(name, index) for name in node.input]
        if node.op_type != "Concat" or not any(made):
            continue
        scales: list[Any] = [index.constants.get(_input(n[0], 1)) if n else None for n in made]
        if any(scale is None for scale in scales):
            yield node, "some of its inputs are quantized and some are not"
        elif any(not np.array_equal(scale, scales[0]) for scale in scales):
            yield node, "its inputs have different scales"


def _linear(index: GraphIndex) -> Iterator[onnx.NodeProto]:
    """Return the Q/DQ nodes."""
    kinds = ("QuantizeLinear", "DequantizeLinear")
    return (node for node in index.graph.node if node.op_type in kinds)


def _input(node: onnx.NodeProto, position: int) -> str:
    """Return the name of an input, or an empty string if the node does not have it."""
    name: str = [*node.input, "", "", ""][position]
    return name


def _zero_point_type(node: onnx.NodeProto, index: GraphIndex) -> str | None:
    zero_point = index.constants.get(_input(node, 2))
    return None if zero_point is None else str(zero_point.dtype)


def _chain(name: str, index: GraphIndex) -> list[onnx.NodeProto]:
    """Return the DequantizeLinear that produces a tensor and the QuantizeLinear before it."""
    made = []
    for kind in ("DequantizeLinear", "QuantizeLinear"):
        node = index.producers.get(name)
        if node is None or node.op_type != kind:
            break
        made.append(node)
        name = node.input[0]
    return made


def _source(node: onnx.NodeProto, index: GraphIndex) -> str:
    """Return the float tensor that a Q/DQ pair quantizes, or the stored integers."""
    before = index.producers.get(node.input[0])
    if before is not None and before.op_type == "QuantizeLinear":
        node = before
    name: str = node.input[0]
    return name


def _before_pair(name: str, index: GraphIndex) -> str:
    made = _chain(name, index)
    return made[-1].input[0] if made else name


def _quantized_inputs(
    index: GraphIndex, position: int
) -> Iterator[tuple[onnx.NodeProto, list[onnx.NodeProto]]]:
    """Return the convolutions whose input is dequantized, with the Q/DQ nodes that produce it."""
    for node in index.graph.node:
        if node.op_type in WEIGHT_AXES and (made := _chain(_input(node, position), index)):
            yield node, made


_COMMON = {Rule.THREE_INPUTS: _three_inputs, Rule.SCALE: _scale, Rule.CHANNELS: _channels}

RULES: Mapping[Dialect, Mapping[Rule, Callable[[GraphIndex], Broken]]] = {
    Dialect.TENSORRT: {
        **_COMMON,
        Rule.INTEGER_TYPE: _int8,
        Rule.ZERO_POINT: _zero_point_zero,
        Rule.WEIGHT: _weight_quantized_at_build,
        Rule.BIAS: _no_quantized_bias,
        Rule.RESIDUAL: _residual,
        Rule.CONCAT: _concat,
    },
    Dialect.CPU: {
        **_COMMON,
        Rule.INTEGER_TYPE: _uint8,
        Rule.ZERO_POINT: _zero_point_of_constants,
        Rule.WEIGHT: _weight_stored,
        Rule.BIAS: _bias_scale,
    },
}
