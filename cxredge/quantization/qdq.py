"""Emitters: one set of ranges, written in the dialect that a target reads.

The quantizer of ONNX Runtime writes the nodes; nothing else talks to it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from cxredge.quantization.ranges import Ranges
from cxredge.vocabulary import Dialect

# The head is a few thousand weights: quantizing it would cost fidelity and save no time.
_QUANTIZED = {Dialect.CPU: ["Conv", "Add", "Clip", "Relu"], Dialect.TENSORRT: ["Conv"]}

_OPTIONS: dict[Dialect, dict[str, Any]] = {
    Dialect.CPU: {"ActivationSymmetric": False, "WeightSymmetric": True},
    Dialect.TENSORRT: {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "AddQDQPairToWeight": True,
        "OpTypesToExcludeOutputQuantization": ["Conv", "Add", "Clip", "Relu"],
        "QDQOpTypePerChannelSupportToAxis": {"Conv": 0},
        "ForceQuantizeNoInputCheck": True,
    },
}


def emit(
    model: onnx.ModelProto,
    ranges: Ranges,
    dialect: Dialect,
    float_bias: bool = False,
    keep: Collection[str] = (),
) -> onnx.ModelProto:
    """Insert QuantizeLinear and DequantizeLinear into an FP32 model.

    Args:
        model: The FP32 model; it is not changed.
        ranges: Range of every float activation.
        dialect: Which dialect to write.
        float_bias: Leave biases in float also where the dialect quantizes them, so that they can
            still be corrected.
        keep: Names of nodes that stay in float.

    Returns:
        A new model, its nodes in topological order.
    """
    working = onnx.shape_inference.infer_shapes(model)
    options = dict(_OPTIONS[dialect])
    if float_bias:
        options["QuantizeBias"] = False
    data = {
        name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
        for name, (low, high) in ranges.items()
    }
    kinds = set(_QUANTIZED[dialect])
    quantizer = QDQQuantizer(
        working,
        True,  # one scale a channel for weights
        False,  # the full 8 bits of weights
        QuantType.QInt8,
        QuantType.QUInt8 if dialect is Dialect.CPU else QuantType.QInt8,
        TensorsData(CalibrationMethod.MinMax, data),
        _quantizable(working, kinds),
        list(keep),
        sorted(kinds),
        options,
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    emitted: onnx.ModelProto = quantizer.model.model
    standard = [entry for entry in emitted.opset_import if entry.domain in ("", "ai.onnx")]
    del emitted.opset_import[:]
    emitted.opset_import.extend(standard)
    onnx.checker.check_model(emitted)
    return emitted


def _quantizable(model: onnx.ModelProto, kinds: set[str]) -> list[str]:
    """Return the nodes to quantize: those of the network, not the normalisation before it."""
    names = []
    inside = False
    for index, node in enumerate(model.graph.node):
        inside = inside or node.op_type == "Conv"
        if not node.name:
            node.name = f"{node.op_type}_{index}"
        if inside and node.op_type in kinds:
            names.append(node.name)
    return names
