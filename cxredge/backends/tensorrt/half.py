"""An FP32 graph in FP16, for the versions that take number formats from the ONNX file alone."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cxredge.errors import ArtifactError
from cxredge.onnx_graph import OUTPUT_NAME

_FLOAT, _HALF = TensorProto.FLOAT, TensorProto.FLOAT16
_LARGEST = float(np.finfo(np.float16).max)


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of an FP32 model that computes in FP16; its input and output keep their types.

    Args:
        model: A graph without quantization, whose image is cast to float by a Cast node.

    Raises:
        ArtifactError: A weight is too large for FP16, or the graph is quantized: scales of INT8
            would lose their small values.
    """
    half = onnx.ModelProto()
    half.CopyFrom(model)
    graph = half.graph
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in graph.node):
        raise ArtifactError(
            "This ONNX file is quantized; FP16 is made from the FP32 file.",
            "Give the bundle's model-fp32.onnx.",
        )
    for initializer in graph.initializer:
        _halve(initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == _FLOAT:
                attribute.i = _HALF
            if attribute.HasField("t"):
                _halve(attribute.t)
    for value in graph.value_info:
        if value.type.tensor_type.elem_type == _FLOAT:
            value.type.tensor_type.elem_type = _HALF
    _cast_output(graph)
    return half


def _halve(constant: TensorProto) -> None:
    if constant.data_type != _FLOAT:
        return
    values = numpy_helper.to_array(constant)
    largest = float(np.abs(values).max(initial=0))
    if largest > _LARGEST:
        raise ArtifactError(
            f"The weights '{constant.name}' reach {largest:g}; FP16 ends at {_LARGEST:g}.",
            "Use --precision fp32 or int8.",
        )
    constant.CopyFrom(numpy_helper.from_array(values.astype(np.float16), constant.name))


def _cast_output(graph: onnx.GraphProto) -> None:
    """Let the last node write FP16 under another name, and cast that to the FP32 output."""
    inner = f"{OUTPUT_NAME}_fp16"
    for node in graph.node:
        node.output[:] = [inner if name == OUTPUT_NAME else name for name in node.output]
        node.input[:] = [inner if name == OUTPUT_NAME else name for name in node.input]
    graph.node.append(helper.make_node("Cast", [inner], [OUTPUT_NAME], "to_fp32", to=_FLOAT))
