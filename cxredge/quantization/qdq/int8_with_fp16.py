"""INT8 graphs with FP16 instead of FP32 between the integers, for strongly typed TensorRT.

TensorRT 11 removed the FP16 flag: every layer computes in the types of the graph, so an FP32 Q/DQ
graph would run in FP32 wherever it is not quantized. Input and output stay uint8 and float32.

ONNX Runtime 1.32 computes such a graph correctly only without its optimiser
``WeightBiasQuantization``, which quantizes FP16 biases as if their scales were FP32: pass
``disabled_optimizers=["WeightBiasQuantization"]`` to its session.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from cxredge.errors import CxredgeError
from cxredge.graph.nodes import attribute_of, floats, set_attribute
from cxredge.quantization.qdq.rules import OLDEST_FP16_OPSET

Floats = npt.NDArray[np.float64]
Half = npt.NDArray[np.float16]

LARGEST = float(np.finfo(np.float16).max)
SMALLEST = float(np.finfo(np.float16).smallest_subnormal)
_HINT = "Use the FP32-typed graph."


def to_int8_with_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a graph of the TensorRT dialect that computes in FP16 and int8.

    Args:
        model: Emitted graph with float32 scales; it is not changed.

    Returns:
        A checked model of opset 19, the first whose Q/DQ nodes accept FP16. Scales and all other
        float constants are FP16; inputs and outputs keep their types.

    Raises:
        CxredgeError: A constant or a quantized activation exceeds FP16's range (the message names
            the tensor), or an operator has no FP16 form.
    """
    typed = version_converter.convert_version(model, OLDEST_FP16_OPSET)
    graph = typed.graph
    del graph.value_info[:]
    quantized = _quantized(graph)
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = floats(numpy_helper.to_array(tensor))
            source = quantized.get(tensor.name)
            half = _half(values, tensor.name) if source is None else _half_scale(values, source)
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    for node in graph.node:
        if node.op_type == "Cast" and attribute_of(node, "to", 0) == TensorProto.FLOAT:
            set_attribute(node, "to", TensorProto.FLOAT16)
    _cast_outputs(graph)
    try:
        onnx.checker.check_model(typed, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        cause = str(error).strip().splitlines()[0]
        raise CxredgeError(f"The graph cannot be typed FP16: {cause}", _HINT) from None
    return typed


def _quantized(graph: onnx.GraphProto) -> dict[str, str]:
    """Return the tensor that is quantized with each scale."""
    quantizers = (node for node in graph.node if node.op_type == "QuantizeLinear")
    return {node.input[1]: node.input[0] for node in quantizers}


def _half(values: Floats, name: str) -> Half:
    """Return a constant as FP16."""
    largest = float(np.abs(values).max(initial=0))
    if not largest <= LARGEST:
        raise CxredgeError(
            f"{name!r} has a value of {largest:.3g}; the largest FP16 number is {LARGEST:.0f}.",
            _HINT,
        )
    return values.astype(np.float16)


def _half_scale(scales: Floats, source: str) -> Half:
    """Return the scales of a tensor as FP16, rounded up so that no additional value is clamped.

    Scales below the smallest FP16 number become that number: the weights of such a channel are
    negligible beside the others. A tensor with only such scales is refused.
    """
    if scales.max() < SMALLEST:
        raise CxredgeError(
            f"A scale of {source!r} is {scales.max():.3g}; the smallest FP16 number is "
            f"{SMALLEST:.2g}.",
            _HINT,
        )
    if (scales * 127 > LARGEST).any():
        raise CxredgeError(
            f"{source!r} reaches {scales.max() * 127:.3g}; the largest FP16 number is "
            f"{LARGEST:.0f}.",
            _HINT,
        )
    half = scales.astype(np.float16)
    return np.where(half < scales, np.nextafter(half, np.float16(np.inf)), half)


def _cast_outputs(graph: onnx.GraphProto) -> None:
    """Rename float outputs, which inner nodes now produce in FP16, and cast them to float32."""
    renamed = {
        output.name: f"{output.name}_fp16"
        for output in graph.output
        if output.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for name, inner in renamed.items():
        to_float = helper.make_node("Cast", [inner], [name], f"{name}_cast", to=TensorProto.FLOAT)
        graph.node.append(to_float)
