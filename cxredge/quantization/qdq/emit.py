"""Emitter: inserts QuantizeLinear and DequantizeLinear (Q/DQ) nodes in the dialect of a target.

`placement` decides where they go, `parameters` computes their scales and zero points.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from cxredge.graph.index import Edge, GraphIndex
from cxredge.graph.nodes import Array, copy_of, replace_nodes, set_attribute
from cxredge.quantization.qdq.parameters import (
    Floats,
    Parameters,
    activation_parameters,
    bias_parameters,
    weight_parameters,
    with_room_for_bias,
)
from cxredge.quantization.qdq.placement import Placement, place
from cxredge.quantization.ranges.statistics import Ranges
from cxredge.vocabulary import Dialect


def emit(
    model: onnx.ModelProto,
    ranges: Ranges,
    dialect: Dialect,
    float_bias: bool = False,
    keep: Collection[str] = (),
    weight_scales: Mapping[str, Floats] | None = None,
) -> onnx.ModelProto:
    """Insert Q/DQ nodes into an FP32 model.

    Args:
        model: The FP32 model; it is not changed.
        ranges: Range of every float activation.
        dialect: The dialect to emit.
        float_bias: Keep biases in float even if the dialect quantizes them, so that they can still
            be corrected.
        keep: Names of nodes that stay in float.
        weight_scales: float32 (C,) scales, one per output channel, by name of the initializer;
            max|w| / 127 for weights without an entry.

    Returns:
        A new model, its nodes in topological order. Convolutions keep their names and outputs.

    Raises:
        CxredgeError: The graph cannot be quantized, or a range or scale is missing or invalid.
    """
    placement = place(model, dialect, keep)
    emitted = copy_of(model)
    index = GraphIndex(emitted.graph)
    activations = activation_parameters(
        sorted({index.name_at(edge) for edge in placement.edges}),
        ranges,
        placement.shared,
        dialect,
    )
    settings = _Settings(index, placement, activations, dialect, float_bias, weight_scales or {})
    writer = _GraphWriter()
    for node in emitted.graph.node:
        _write(node, settings, writer)
    emitted.graph.initializer.extend(writer.initializers)
    del emitted.graph.value_info[:]
    replace_nodes(emitted.graph, writer.nodes)
    onnx.checker.check_model(emitted)
    return emitted


@dataclass(frozen=True)
class _Settings:
    """Everything that decides how the nodes of one graph are emitted."""

    index: GraphIndex
    placement: Placement
    activations: Mapping[str, Parameters]
    dialect: Dialect
    float_bias: bool
    weight_scales: Mapping[str, Floats]


class _GraphWriter:
    """Collects the nodes and initializers of the new graph in the order of writing.

    Q/DQ nodes always have three inputs, with scale and zero point as initializers: TensorRT 8.5
    requires it.
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(self, original: onnx.NodeProto, inputs: list[str]) -> None:
        """Write a copy of a node with other inputs."""
        written = onnx.NodeProto()
        written.CopyFrom(original)
        written.input[:] = inputs
        self.nodes.append(written)

    def quantize_and_dequantize(self, name: str, source: str, parameters: Parameters) -> str:
        """Write a Q/DQ pair behind the tensor ``source``; return the name of its output."""
        self._parameters(name, parameters)
        self._linear("QuantizeLinear", name, source, _quantized(name), parameters)
        return self._dequantize(name, parameters)

    def store(self, name: str, integers: Array, parameters: Parameters) -> str:
        """Write integers as an initializer and dequantize them; return the name of the result."""
        self._initializer(_quantized(name), integers)
        self._parameters(name, parameters)
        return self._dequantize(name, parameters)

    def _dequantize(self, name: str, parameters: Parameters) -> str:
        self._linear("DequantizeLinear", name, _quantized(name), _dequantized(name), parameters)
        return _dequantized(name)

    def _linear(
        self, op_type: str, name: str, source: str, result: str, parameters: Parameters
    ) -> None:
        inputs = [source, f"{name}_scale", f"{name}_zero_point"]
        node = helper.make_node(op_type, inputs, [result], f"{name}_{op_type}")
        if parameters.axis is not None:
            set_attribute(node, "axis", parameters.axis)
        self.nodes.append(node)

    def _parameters(self, name: str, parameters: Parameters) -> None:
        self._initializer(f"{name}_scale", parameters.scale)
        self._initializer(f"{name}_zero_point", parameters.zero_point)

    def _initializer(self, name: str, values: Array) -> None:
        self.initializers.append(numpy_helper.from_array(values, name))


def _quantized(name: str) -> str:
    return f"{name}_quantized"


def _dequantized(name: str) -> str:
    return f"{name}_dequantized"


def _write(node: onnx.NodeProto, settings: _Settings, writer: _GraphWriter) -> None:
    """Write one node with its quantized constants, and Q/DQ pairs behind its outputs."""
    edges = settings.placement.edges
    inputs = [
        _dequantized(name) if Edge(node.output[0], i) in edges else name
        for i, name in enumerate(node.input)
    ]
    if _is_absorbed(node, settings):
        name = node.output[0]
        writer.quantize_and_dequantize(name, inputs[0], settings.activations[name])
        return
    if Edge(node.output[0], 1) in settings.placement.weights:
        inputs[1:] = _write_constants(node, settings, writer)
    writer.node(node, inputs)
    for name in node.output:
        if name in settings.activations:
            writer.quantize_and_dequantize(name, name, settings.activations[name])


def _write_constants(node: onnx.NodeProto, settings: _Settings, writer: _GraphWriter) -> list[str]:
    """Write a node's weight and bias as the dialect requires; return their names."""
    constants = settings.index.constants
    name, *bias_name = node.input[1:]
    values = constants[name].astype(np.float32)
    axis = settings.placement.weights[Edge(node.output[0], 1)]
    weight = weight_parameters(name, values, axis, settings.weight_scales.get(name))
    prefix = f"{node.output[0]}_weight"
    if settings.dialect is Dialect.TENSORRT:
        return [writer.quantize_and_dequantize(prefix, name, weight), *bias_name]
    if not bias_name or bias_name[0] not in constants:
        return [writer.store(prefix, weight.quantize(values), weight), *bias_name]
    bias = constants[bias_name[0]].astype(np.float32)
    activation = settings.activations[node.input[0]]
    weight = with_room_for_bias(weight, activation, bias)
    stored = writer.store(prefix, weight.quantize(values), weight)
    if settings.float_bias:
        return [stored, *bias_name]
    parameters = bias_parameters(weight, activation)
    stored_bias = writer.store(f"{node.output[0]}_bias", parameters.quantize(bias), parameters)
    return [stored, stored_bias]


def _is_absorbed(node: onnx.NodeProto, settings: _Settings) -> bool:
    """Return whether quantizing the output of an activation clamps as the activation does."""
    if node.output[0] not in settings.placement.absorbed:
        return False
    bounds = settings.index.bounds(node)
    return bounds is not None and settings.activations[node.output[0]].saturates(*bounds)
