"""INT8 graphs with unsigned weights, which no x86 processor saturates.

Without VNNI, the kernels for uint8 activations and int8 weights add two products with saturation in
16 bits. ONNX Runtime has a session option against it (``session.x64quantprecision``), which a host
such as NVIDIA Triton may not offer. It converts weights to uint8 on loading; here the file is
converted instead, with the same results: w * scale = (w + 128 - 128) * scale.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from cxredge.errors import CxredgeError
from cxredge.graph.index import GraphIndex
from cxredge.graph.nodes import copy_of, replace_nodes

_SHIFT = 128
_HINT = "Choose another precision: --precision fp32"


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


def _is_int8(index: GraphIndex, name: str) -> bool:
    values = index.constants.get(name)
    return values is not None and values.dtype == np.int8


def holds_int8(model: onnx.ModelProto) -> bool:
    """Return whether a graph has int8 constants."""
    return any(tensor.data_type == TensorProto.INT8 for tensor in model.graph.initializer)
