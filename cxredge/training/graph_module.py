"""A quantized ONNX graph as a trainable torch module.

The forward pass computes what the graph computes: QuantizeLinear rounds and clips. The backward
pass ignores rounding (straight-through estimator, Bengio et al. 2013) and is zero where values
are clipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

from cxredge.errors import CxredgeError

_LEVELS = {torch.int8: (-128, 127), torch.uint8: (0, 255)}


class GraphModule(nn.Module):
    """Module that runs a quantized graph, with its weights and biases as parameters.

    Args:
        graph: A graph of either dialect: weights are float behind Q/DQ, or int8 behind DQ.

    Raises:
        CxredgeError: The graph has an operator that is not supported.
    """

    def __init__(self, graph: onnx.ModelProto) -> None:
        super().__init__()
        self._nodes = list(graph.graph.node)
        unknown = sorted({node.op_type for node in self._nodes} - _OPERATORS.keys())
        if unknown:
            raise CxredgeError(
                f"A graph with the operator {unknown[0]} cannot be fine-tuned.",
                "Quantize without --fine-tune.",
            )
        self._input = graph.graph.input[0].name
        self._output = graph.graph.output[0].name
        self._constants = {
            i.name: torch.from_numpy(numpy_helper.to_array(i).copy())
            for i in graph.graph.initializer
        }
        self._keys = {name: f"p{index}" for index, name in enumerate(self._trained())}
        self.trained = nn.ParameterDict(
            {key: nn.Parameter(self._as_float(name)) for name, key in self._keys.items()}
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return float32 logits (N, classes) of uint8 images (N, 1, S, S)."""
        values: dict[str, Tensor] = {**self._constants, self._input: images}
        values |= {name: self.trained[key] for name, key in self._keys.items()}
        for node in self._nodes:
            inputs = [values[name] if name else None for name in node.input]
            if node.op_type == "DequantizeLinear" and node.input[0] in self._keys:
                values[node.output[0]] = self._stored(node)
            else:
                values[node.output[0]] = _OPERATORS[node.op_type](_attributes(node), *inputs)
        return values[self._output]

    def write_to(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """Return a copy of the graph with the current parameters.

        Args:
            graph: The graph that the module was made from.
        """
        copy = onnx.ModelProto()
        copy.CopyFrom(graph)
        steps = {n.input[0]: n for n in self._nodes if n.op_type == "DequantizeLinear"}
        for initializer in copy.graph.initializer:
            if initializer.name not in self._keys:
                continue
            values = self.trained[self._keys[initializer.name]].detach()
            old = self._constants[initializer.name]
            if not old.is_floating_point():
                limits = torch.iinfo(old.dtype)
                scale = self._scale_of(steps[initializer.name])
                values = (values / scale).round().clamp(limits.min, limits.max).to(old.dtype)
            initializer.CopyFrom(numpy_helper.from_array(values.numpy(), initializer.name))
        return copy

    def _trained(self) -> list[str]:
        """Return the names of weights and biases, in float or integer format."""
        read = [
            name
            for node in self._nodes
            for index, name in enumerate(node.input)
            if (node.op_type in ("Conv", "Gemm") and index)
            or (node.op_type in ("QuantizeLinear", "DequantizeLinear") and not index)
        ]
        return [name for name in dict.fromkeys(read) if name in self._constants]

    def _as_float(self, name: str) -> Tensor:
        values = self._constants[name]
        if values.is_floating_point():
            return values.clone()
        node = next(n for n in self._nodes if n.input and n.input[0] == name)
        return values.float() * self._scale_of(node)

    def _stored(self, node: onnx.NodeProto) -> Tensor:
        """Return a stored weight rounded to its grid; int32 biases need no rounding."""
        values: Tensor = self.trained[self._keys[node.input[0]]]
        stored = self._constants[node.input[0]].dtype
        if stored == torch.int32:
            return values
        return _rounded(values, self._scale_of(node), stored)

    def _scale_of(self, node: onnx.NodeProto) -> Tensor:
        """Return the scale of a DequantizeLinear, in a shape that broadcasts to its input."""
        shape = self._constants[node.input[0]].shape
        return _shaped(self._constants[node.input[1]], len(shape), _attributes(node))


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _shaped(scale: Tensor, dimensions: int, attributes: Mapping[str, Any]) -> Tensor:
    if scale.ndim == 0 or dimensions == 0:
        return scale
    shape = [1] * dimensions
    shape[attributes.get("axis", 1)] = -1
    return scale.reshape(shape)


def _rounded(values: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Round float32 values to a symmetric grid; gradients pass where values are not clipped."""
    steps = (values / scale).clamp(*_LEVELS[dtype])
    return (steps + (steps.round() - steps).detach()) * scale


def _quantize(attributes: Mapping[str, Any], x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Return integers as float32; DequantizeLinear applies zero point and scale."""
    low, high = _LEVELS[zero.dtype]
    shaped, offset = (_shaped(v, x.ndim, attributes) for v in (scale, zero.float()))
    steps = (x / shaped + offset).clamp(low, high)
    return steps + (steps.round() - steps).detach()


def _dequantize(attributes: Mapping[str, Any], x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    shaped, offset = (_shaped(v, x.ndim, attributes) for v in (scale, zero.float()))
    return (x - offset) * shaped


def _padded(
    attributes: Mapping[str, Any], x: Tensor, value: float
) -> tuple[Tensor, tuple[int, int]]:
    """Apply asymmetric padding, and return symmetric padding for torch's operator."""
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    if (top, left) == (bottom, right):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=value), (0, 0)


def _conv(
    attributes: Mapping[str, Any], x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    x, padding = _padded(attributes, x, 0.0)
    return F.conv2d(
        x,
        weight,
        bias,
        tuple(attributes.get("strides", (1, 1))),
        padding,
        tuple(attributes.get("dilations", (1, 1))),
        attributes.get("group", 1),
    )


def _max_pool(attributes: Mapping[str, Any], x: Tensor) -> Tensor:
    x, padding = _padded(attributes, x, -np.inf)
    size, strides = tuple(attributes["kernel_shape"]), tuple(attributes.get("strides", (1, 1)))
    ceil = bool(attributes.get("ceil_mode", 0))
    return F.max_pool2d(x, size, strides, padding, ceil_mode=ceil)


def _average_pool(attributes: Mapping[str, Any], x: Tensor) -> Tensor:
    """Average with or without the padding, which may be asymmetric."""
    size, strides = tuple(attributes["kernel_shape"]), tuple(attributes.get("strides", (1, 1)))
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    sides = (left, right, top, bottom)
    mean = F.avg_pool2d(F.pad(x, sides), size, strides)
    if attributes.get("count_include_pad", 0):
        return mean
    return mean / F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), sides), size, strides)


def _clip(
    _: Mapping[str, Any], x: Tensor, low: Tensor | None = None, high: Tensor | None = None
) -> Tensor:
    return torch.clamp(x, low, high)


def _gemm(
    attributes: Mapping[str, Any], x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    matrix = weight if attributes.get("transB", 0) else weight.T
    return F.linear(x, matrix, bias)


def _mean(attributes: Mapping[str, Any], x: Tensor, axes: Tensor | None = None) -> Tensor:
    over = attributes.get("axes") if axes is None else axes.tolist()
    return x.mean(tuple(over or (2, 3)), keepdim=bool(attributes.get("keepdims", 1)))


def _hard_sigmoid(attributes: Mapping[str, Any], x: Tensor) -> Tensor:
    alpha, beta = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    return torch.clamp(alpha * x + beta, 0, 1)


_OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Add": lambda _, a, b: a + b,
    "AveragePool": _average_pool,
    "Cast": lambda _, x: x.float(),
    "Clip": _clip,
    "Concat": lambda attributes, *parts: torch.cat(parts, attributes["axis"]),
    "Conv": _conv,
    "DequantizeLinear": _dequantize,
    "Flatten": lambda attributes, x: x.flatten(attributes.get("axis", 1)),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda _, x: x.mean((2, 3), keepdim=True),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda _, x: F.hardswish(x),
    "MaxPool": _max_pool,
    "Mul": lambda _, a, b: a * b,
    "QuantizeLinear": _quantize,
    "ReduceMean": _mean,
    "Relu": lambda _, x: F.relu(x),
    "Sigmoid": lambda _, x: torch.sigmoid(x),
}
