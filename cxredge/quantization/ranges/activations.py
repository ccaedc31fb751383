"""The float activations of a graph, and those that can be quantized."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from cxredge.graph.index import ACTIVATIONS, WEIGHT_AXES, GraphIndex
from cxredge.graph.model_file import infer_values

_CONVOLUTIONS = frozenset(WEIGHT_AXES)
_QUANTIZABLE = _CONVOLUTIONS | ACTIVATIONS | {
    "Add", "AveragePool", "Concat", "Gemm", "GlobalAveragePool", "MaxPool", "ReduceMean",
}  # fmt: skip


def float_activations(model: onnx.ModelProto) -> list[str]:
    """Return the names of all float tensors that nodes compute, in graph order."""
    types = {value.name: value.type.tensor_type.elem_type for value in infer_values(model)}
    produced = [name for node in model.graph.node for name in node.output]
    return [name for name in produced if types.get(name) == onnx.TensorProto.FLOAT]


def quantizable_activations(model: onnx.ModelProto) -> list[str]:
    """Return the activations that any dialect may quantize, in graph order.

    These are the float inputs and outputs of convolutions, additions, concatenations, pools,
    activations and fully connected layers. Excluded are the normalisation of the image before the
    first convolution, and tensors between a convolution or addition and its activation, which
    kernels do not round.
    """
    floats = float_activations(model)
    wanted: set[str] = set()
    after_convolution: set[str] = set()
    for node in model.graph.node:
        if node.op_type in _CONVOLUTIONS or after_convolution & set(node.input):
            after_convolution.update(node.output)
            normalises = False
        else:
            normalises = not set(node.input) <= set(floats)
        if node.op_type in _QUANTIZABLE and not normalises:
            wanted |= {*node.input, *node.output}
    wanted -= _inside_kernels(model.graph)
    return [name for name in floats if name in wanted]


def concatenations(model: onnx.ModelProto, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the inputs of each concatenation whose inputs and output are all named.

    The histogram of the output is the sum of those of the inputs. In densely connected networks,
    this saves most of the counting.
    """
    known = set(names)
    return {
        node.output[0]: list(node.input)
        for node in model.graph.node
        if node.op_type == "Concat" and {*node.input, *node.output} <= known
    }


def _inside_kernels(graph: onnx.GraphProto) -> set[str]:
    """Return the outputs of convolutions and additions that only an activation reads."""
    index = GraphIndex(graph)
    return {
        node.output[0]
        for node in graph.node
        if node.op_type in _CONVOLUTIONS | {"Add"}
        and index.is_read_once(node.output[0])
        and index.readers(node.output[0])[0].op_type in ACTIVATIONS
    }
