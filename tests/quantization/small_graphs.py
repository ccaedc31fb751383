"""Networks of a few nodes, written in ONNX's text format."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper, parser

from cxredge.quantization.ranges.activations import float_activations
from cxredge.quantization.ranges.statistics import Ranges

CHANNELS = 4


def network(*nodes: str, output: str = "y") -> onnx.ModelProto:
    """Return a network from a uint8 image (N, 1, 8, 8) to the float tensor ``output``.

    Its first node is ``x = Conv(...)`` with four channels. Nodes are named after their outputs.
    Names without a producer are initializers: ``w...`` 1x1 weights, ``b...`` biases.
    """
    lines = ["i = Cast<to=1>(image)", "x = Conv(i, first)", *nodes]
    text = '<ir_version: 8, opset_import: ["": 17]>\n'
    text += f"tiny (uint8[N,1,8,8] image) => (float[] {output}) {{ {' '.join(lines)} }}"
    model = parser.parse_model(text)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    for node in model.graph.node:
        node.name = node.output[0]
    made = {"image", *(name for node in model.graph.node for name in node.output)}
    names = dict.fromkeys(name for node in model.graph.node for name in node.input)
    rng = np.random.default_rng(0)
    for name in names:
        if name and name not in made:
            values = rng.normal(0, 1, shape_of(name)).astype(np.float32)
            model.graph.initializer.append(numpy_helper.from_array(values, name))
    inferred = onnx.shape_inference.infer_shapes(model).graph.output
    model.graph.output[0].CopyFrom(inferred[0])
    return model


def shape_of(name: str) -> tuple[int, ...]:
    if name == "first":
        return (CHANNELS, 1, 1, 1)
    return {"w": (CHANNELS, CHANNELS, 1, 1), "b": (CHANNELS,), "s": ()}[name[0]]


def set_initializer(model: onnx.ModelProto, name: str, values: np.ndarray) -> None:
    tensor = next(i for i in model.graph.initializer if i.name == name)
    tensor.CopyFrom(numpy_helper.from_array(values, name))


def initializers(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}


def some_ranges(model: onnx.ModelProto, **others: tuple[float, float]) -> Ranges:
    """Return the range (-1, 2) for every activation, and (0, 2) behind an activation function."""
    kinds = {node.output[0]: node.op_type for node in model.graph.node}
    ranges = {
        name: ((0.0 if kinds[name] in ("Relu", "Clip") else -1.0), 2.0)
        for name in float_activations(model)
    }
    return ranges | others


def node_of(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def sources(model: onnx.ModelProto, name: str) -> list[str]:
    """Return the inputs of a node, with a ``q:`` before the names of quantized tensors."""
    made = {output: node for node in model.graph.node for output in node.output}
    found = []
    for source in node_of(model, name).input:
        chain = made.get(source)
        if chain is None or chain.op_type != "DequantizeLinear":
            found.append(source)
            continue
        before = made.get(chain.input[0])
        found.append("q:" + (before.input[0] if before is not None else chain.input[0]))
    return found
