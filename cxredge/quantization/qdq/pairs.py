"""QuantizeLinear and DequantizeLinear nodes, as every TensorRT from 8.5 on reads them.

Both always have three inputs, scale and zero point as initializers: TensorRT 8.5 takes no less.
"""

from __future__ import annotations

import onnx
from onnx import helper, numpy_helper

from cxredge.graph.nodes import Array, set_attribute
from cxredge.quantization.qdq.parameters import Parameters


def dequantized(name: str) -> str:
    """Return what a tensor is called that was quantized and dequantized again."""
    return f"{name}_dequantized"


class PairWriter:
    """Collects the nodes and initializers of a new graph in the order they are written."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(self, original: onnx.NodeProto, inputs: list[str]) -> None:
        """Write a node again, with other inputs."""
        written = onnx.NodeProto()
        written.CopyFrom(original)
        written.input[:] = inputs
        self.nodes.append(written)

    def pair(self, name: str, source: str, parameters: Parameters) -> str:
        """Quantize the tensor ``source`` and dequantize it; return the result's name."""
        self._parameters(name, parameters)
        self._linear("QuantizeLinear", name, source, _quantized(name), parameters)
        return self._dequantize(name, parameters)

    def stored(self, name: str, steps: Array, parameters: Parameters) -> str:
        """Store integers and dequantize them; return the result's name."""
        self._initializer(_quantized(name), steps)
        self._parameters(name, parameters)
        return self._dequantize(name, parameters)

    def _dequantize(self, name: str, parameters: Parameters) -> str:
        self._linear("DequantizeLinear", name, _quantized(name), dequantized(name), parameters)
        return dequantized(name)

    def _linear(
        self, kind: str, name: str, source: str, result: str, parameters: Parameters
    ) -> None:
        inputs = [source, f"{name}_scale", f"{name}_zero_point"]
        node = helper.make_node(kind, inputs, [result], f"{name}_{kind}")
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
