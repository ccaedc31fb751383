"""Reading and changing the nodes of an ONNX graph."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[np.generic]


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a model."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def constants_of(graph: onnx.GraphProto) -> dict[str, Array]:
    """Return the values of the initializers, except those that callers may override as inputs."""
    inputs = {value.name for value in graph.input}
    return {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.name not in inputs
    }


def floats(values: Array) -> NDArray[np.float64]:
    """Return values as float64, which is precise enough for folding."""
    return values.astype(np.float64)


def attribute_of(node: onnx.NodeProto, name: str, default: object) -> object:
    """Return the value of an attribute, or ``default`` if the node does not have it."""
    for attribute in node.attribute:
        if attribute.name == name:
            value: object = helper.get_attribute_value(attribute)
            return value
    return default


def number_of(node: onnx.NodeProto, name: str, default: float) -> float:
    """Return a numeric attribute, or ``default`` if the node does not have it."""
    value = attribute_of(node, name, default)
    return float(value) if isinstance(value, int | float) else default


def integers_of(node: onnx.NodeProto, name: str, default: list[int]) -> list[int]:
    """Return an attribute of integers, or ``default`` if the node does not have it."""
    value = attribute_of(node, name, default)
    return [int(item) for item in value] if isinstance(value, Iterable) else default


def set_attribute(node: onnx.NodeProto, name: str, value: object) -> None:
    """Set an attribute, replacing one of the same name."""
    others = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*others, helper.make_attribute(name, value)])


def replace_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Replace the nodes of a graph; drop the initializers and shapes that are no longer used."""
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    mentioned = {name for node in kept for name in (*node.input, *node.output)}
    mentioned |= externally_read(graph)
    for field in (graph.initializer, graph.value_info):
        used = [item for item in field if item.name in mentioned]
        del field[:]
        field.extend(used)


def externally_read(graph: onnx.GraphProto) -> set[str]:
    """Return the graph's outputs and the tensors that subgraphs capture."""
    captured = {name for node in graph.node for name in _subgraph_inputs(node)}
    return captured | {output.name for output in graph.output}


def subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Return the subgraphs of a node, such as the branches of an ``If``."""
    return [graph for item in node.attribute for graph in (*item.graphs, item.g) if graph.node]


def _subgraph_inputs(node: onnx.NodeProto) -> set[str]:
    """Return the names that the subgraphs of a node read, nested ones included."""
    inner = [child for graph in subgraphs(node) for child in graph.node]
    names = {name for child in inner for name in child.input}
    return names.union(*(_subgraph_inputs(child) for child in inner))
