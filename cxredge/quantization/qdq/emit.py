"""Emitter: one set of ranges, written as Q/DQ nodes in the dialect that a target reads.

`placement` says where, `parameters` with which numbers, `pairs` writes the nodes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from cxredge.graph.nodes import copy_of, replace_nodes
from cxredge.graph.wiring import Edge, Wiring
from cxredge.quantization.qdq.pairs import PairWriter, dequantized
from cxredge.quantization.qdq.parameters import (
    Floats,
    Parameters,
    of_activations,
    of_bias,
    of_weight,
    with_room_for_bias,
)
from cxredge.quantization.qdq.placement import Placement, place
from cxredge.quantization.ranges.measure import Ranges
from cxredge.vocabulary import Dialect


def emit(
    model: onnx.ModelProto,
    ranges: Ranges,
    dialect: Dialect,
    float_bias: bool = False,
    keep: Collection[str] = (),
    weight_scales: Mapping[str, Floats] | None = None,
) -> onnx.ModelProto:
    """Insert QuantizeLinear and DequantizeLinear into an FP32 model.

    Args:
        model: The FP32 model; it is not changed.
        ranges: Range of every float activation.
        dialect: Which dialect to write.
        float_bias: Leave biases in float also where the dialect quantizes them, so that they can
            still be corrected.
        keep: Names of nodes that stay in float.
        weight_scales: float32 (C,) scales, one for each output channel, by name of the
            initializer; max|w| / 127 for those it does not name.

    Returns:
        A new model, its nodes in topological order. Convolutions keep their names and outputs.

    Raises:
        CxredgeError: The graph cannot be quantized, or a range or scale is missing or unusable.
    """
    placement = place(model, dialect, keep)
    emitted = copy_of(model)
    wiring = Wiring(emitted.graph)
    activations = of_activations(
        sorted({wiring.name_at(edge) for edge in placement.edges}),
        ranges,
        placement.shared,
        dialect,
    )
    settings = _Settings(wiring, placement, activations, dialect, float_bias, weight_scales or {})
    writer = PairWriter()
    for node in emitted.graph.node:
        _write(node, settings, writer)
    emitted.graph.initializer.extend(writer.initializers)
    del emitted.graph.value_info[:]
    replace_nodes(emitted.graph, writer.nodes)
    onnx.checker.check_model(emitted)
    return emitted


@dataclass(frozen=True)
class _Settings:
    """All that the nodes of one graph are written from."""

    wiring: Wiring
    placement: Placement
    activations: Mapping[str, Parameters]
    dialect: Dialect
    float_bias: bool
    weight_scales: Mapping[str, Floats]


def _write(node: onnx.NodeProto, settings: _Settings, writer: PairWriter) -> None:
    """Write one node, the constants it reads quantized, and the pairs behind it."""
    edges = settings.placement.edges
    inputs = [
        dequantized(name) if Edge(node.output[0], i) in edges else name
        for i, name in enumerate(node.input)
    ]
    if _is_absorbed(node, settings):
        writer.pair(node.output[0], inputs[0], settings.activations[node.output[0]])
        return
    if Edge(node.output[0], 1) in settings.placement.weights:
        inputs[1:] = _constants(node, settings, writer)
    writer.node(node, inputs)
    for name in node.output:
        if name in settings.activations:
            writer.pair(name, name, settings.activations[name])


def _constants(node: onnx.NodeProto, settings: _Settings, writer: PairWriter) -> list[str]:
    """Write a node's weight and bias as the dialect has them; return their names."""
    constants = settings.wiring.constants
    name, *bias_name = node.input[1:]
    values = constants[name].astype(np.float32)
    axis = settings.placement.weights[Edge(node.output[0], 1)]
    weight = of_weight(name, values, axis, settings.weight_scales.get(name))
    prefix = f"{node.output[0]}_weight"
    if settings.dialect is Dialect.TENSORRT:
        return [writer.pair(prefix, name, weight), *bias_name]
    if not bias_name or bias_name[0] not in constants:
        return [writer.stored(prefix, weight.steps(values), weight), *bias_name]
    bias = constants[bias_name[0]].astype(np.float32)
    activation = settings.activations[node.input[0]]
    weight = with_room_for_bias(weight, activation, bias)
    stored = writer.stored(prefix, weight.steps(values), weight)
    if settings.float_bias:
        return [stored, *bias_name]
    parameters = of_bias(weight, activation)
    return [stored, writer.stored(f"{node.output[0]}_bias", parameters.steps(bias), parameters)]


def _is_absorbed(node: onnx.NodeProto, settings: _Settings) -> bool:
    """Whether clamping to the range of its result does what an activation does."""
    if node.output[0] not in settings.placement.absorbed:
        return False
    bounds = settings.wiring.bounds(node)
    return bounds is not None and settings.activations[node.output[0]].saturates(*bounds)
