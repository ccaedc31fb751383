"""INT8 graphs that compute in any ONNX Runtime what cxredge's own sessions compute.

The sessions of cxredge have two options that a host such as NVIDIA Triton does not offer. Here the
graph is changed instead, with the same results.

- Without VNNI, the x86 kernels for uint8 activations and int8 weights add two products with
  saturation in 16 bits. The option ``session.x64quantprecision`` converts the weights to uint8:
  w * scale = (w + 128 - 128) * scale.
- Since version 1.21, the optimizer ``WeightBiasQuantization`` quantizes float weights between
  integer layers with one scale for all channels. It looks for DequantizeLinear directly before a
  layer, so that a Sum of a single input, which copies it, ends the pattern.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from cxredge.errors import CxredgeError
from cxredge.graph.index import GraphIndex
from cxredge.graph.nodes import copy_of, replace_nodes

_LAYERS = ("Conv", "ConvTranspose", "Gemm")
_SHIFT = 128
_HINT = "Choose another precision: --precision fp32"


def portable_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that needs no session options.

    Raises:
        CxredgeError: As :func:`with_unsigned_weights`.
    """
    return with_guarded_floats(with_unsigned_weights(model))


def with_guarded_floats(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which no layer with float weights reads a DequantizeLinear directly."""
    copy = copy_of(model)
    index = GraphIndex(copy.graph)
    nodes: list[onnx.NodeProto] = []
    for node in copy.graph.node:
        source = index.producers.get(node.input[0]) if node.input else None
        if source is not None and source.op_type == "DequantizeLinear" and _is_float(index, node):
            guarded = f"{node.output[0]}_guarded"
            nodes.append(onnx.helper.make_node("Sum", [node.input[0]], [guarded], guarded))
            node.input[0] = guarded
        nodes.append(node)
    replace_nodes(copy.graph, nodes)
    onnx.checker.check_model(copy)
    return copy


def with_unsigned_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose int8 weights are uint8 with the zero point 128.

    Args:
        model: An INT8 graph of the CPU dialect; a graph without INT8 is copied as it is.

    Raises:
        CxredgeError: The graph has signed activations or quantizes its weights itself, as that of
            the TensorRT dialect does.
    """
    copy = copy_of(model)
    index = GraphIndex(copy.graph)
    nodes, shifted = [], []
    for node in copy.graph.node:
        signed = len(node.input) > 2 and _is_int8(index, node.input[2])
        if signed and (node.op_type == "QuantizeLinear" or node.input[0] not in index.constants):
            raise CxredgeError(
                f"The INT8 network has signed activations ({node.name or node.output[0]}), as "
                "TensorRT requires; on processors without VNNI they may saturate.",
                _HINT,
            )
        if signed and node.op_type == "DequantizeLinear":
            shifted += [(f"{name}_unsigned", name) for name in (node.input[0], node.input[2])]
            node.input[0], node.input[2] = shifted[-2][0], shifted[-1][0]
        nodes.append(node)
    for name, source in dict(shifted).items():
        values = index.constants[source].astype(np.int16) + _SHIFT
        copy.graph.initializer.append(numpy_helper.from_array(values.astype(np.uint8), name))
    replace_nodes(copy.graph, nodes)
    onnx.checker.check_model(copy)
    return copy


def _is_float(index: GraphIndex, node: onnx.NodeProto) -> bool:
    """Return whether a node is a layer whose weights are constants in float."""
    return node.op_type in _LAYERS and node.input[1] in index.constants


def _is_int8(index: GraphIndex, name: str) -> bool:
    values = index.constants.get(name)
    return values is not None and values.dtype == np.int8


def holds_int8(model: onnx.ModelProto) -> bool:
    """Return whether a graph has int8 constants."""
    return any(tensor.data_type == TensorProto.INT8 for tensor in model.graph.initializer)
