"""The TensorRT dialect with FP16 between the integers, for strongly typed TensorRT.

From TensorRT 11 on no flag allows FP16: every layer computes in the types the graph has. There an
FP32 Q/DQ graph runs in FP32 wherever it is not quantized; this one runs in FP16. The input stays
uint8 and the logits float32, so nothing around the graph changes.

ONNX Runtime 1.32 computes such a graph rightly only without its optimiser
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


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite a graph of the TensorRT dialect so that it computes in FP16 and int8.

    Args:
        model: Emitted graph with float32 scales; it is not changed.

    Returns:
        A checked model of opset 19, the first whose Q/DQ take FP16: scales and all other float
        constants FP16, inputs and outputs as they were.

    Raises:
        CxredgeError: A constant does not fit FP16, or the values of a quantized activation, or an
            operator has no FP16 form; names the tensor.
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
    """Return for each scale the tensor that is quantized with it."""
    quantizers = (node for node in graph.node if node.op_type == "QuantizeLinear")
    return {node.input[1]: node.input[0] for node in quantizers}


def _half(values: Floats, name: str) -> Half:
    """Return a constant as FP16."""
    largest = float(np.abs(values).max(initial=0))
    if not largest <= LARGEST:
        raise CxredgeError(
            f"{name!r} has a value of {largest:.3g}, and FP16 ends at {LARGEST:.0f}.", _HINT
        )
    return values.astype(np.float16)


def _half_scale(scales: Floats, source: str) -> Half:
    """Return the scales of a tensor as FP16, rounded up: no value that fitted is clamped then.

    Scales below FP16 become its smallest number: a channel of weights that are next to nothing
    beside the others moves by less than that. A tensor whose scales are all below it is refused.
    """
    if scales.max() < SMALLEST:
        raise CxredgeError(
            f"A scale of {source!r} is {scales.max():.3g}, and FP16 begins at {SMALLEST:.2g}.",
            _HINT,
        )
    if (scales * 127 > LARGEST).any():
        raise CxredgeError(
            f"{source!r} reaches {scales.max() * 127:.3g}, and FP16 ends at {LARGEST:.0f}.", _HINT
        )
    half = scales.astype(np.float16)
    return np.where(half < scales, np.nextafter(half, np.float16(np.inf)), half)


def _cast_outputs(graph: onnx.GraphProto) -> None:
    """Let inner nodes make outputs in FP16 and give them out as float32."""
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
