"""Placement: where Q/DQ nodes belong in a graph, by dialect.

Two kinds of nodes compute on integers. Convolutions and additions of two activations always do.
Pools and concatenations do if all their readers do; otherwise, they would only add a rounding. All
others stay in float: the normalisation of the image; the head, whose few thousand weights would
cost accuracy and save no time; and operators without a rule.

TensorRT decides per edge. It fuses the addition of a residual into a convolution, so the skip
branch is quantized and the convolution's output is not (as in NVIDIA's quantization toolkit for
TensorFlow, ``custom_qdq_cases.py``). ONNX Runtime decides per tensor: its integer kernels require
quantized inputs and a quantized output, and no other node may read the float tensor between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import onnx

from cxredge.errors import CxredgeError
from cxredge.graph.index import ACTIVATIONS, WEIGHT_AXES, Edge, GraphIndex
from cxredge.quantization.ranges.activations import float_activations
from cxredge.vocabulary import Dialect

_POOLS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool"})
_PASSING = _POOLS | {"Concat"}
# ONNX Runtime has no integer kernel for ConvTranspose on the CPU.
_WEIGHTED = {Dialect.CPU: frozenset({"Conv"}), Dialect.TENSORRT: frozenset(WEIGHT_AXES)}
# These only select values: sharing one scale loses nothing and lets runtimes drop Q/DQ pairs.
_ONE_SCALE = {
    Dialect.CPU: frozenset({"MaxPool"}),
    Dialect.TENSORRT: frozenset({"MaxPool", "Concat"}),
}


@dataclass(frozen=True)
class Placement:
    """Activations and weights to quantize.

    Attributes:
        edges: Edges on which a node reads a quantized and dequantized activation.
        weights: Edges on which a node reads a quantized weight, with the axis of its output
            channels.
        absorbed: Outputs of activations that quantization can replace, if its range ends at the
            activation's limits.
        shared: Groups of activations that share one scale.
        in_float: Number of nodes behind the first convolution that stay in float, by operator.
            Activations are not counted: they are part of the node before.
    """

    edges: frozenset[Edge]
    weights: Mapping[Edge, int]
    absorbed: frozenset[str]
    shared: tuple[frozenset[str], ...]
    in_float: Mapping[str, int]


def place(model: onnx.ModelProto, dialect: Dialect, keep: Collection[str] = ()) -> Placement:
    """Decide what is quantized.

    Args:
        model: An FP32 model, its nodes in topological order.
        dialect: The dialect.
        keep: Names of nodes that stay in float.

    Raises:
        CxredgeError: The graph has no convolution, or one whose weights are not constant, or no
            node of a name in ``keep``.
    """
    index = GraphIndex(model.graph)
    _check(index, keep)
    integer = _integer_nodes(index, set(float_activations(model)), dialect, keep)
    if dialect is Dialect.TENSORRT:
        edges = frozenset(edge for node in integer.values() for edge in _int8_edges(node, index))
        absorbed: frozenset[str] = frozenset()
    else:
        read, written = _uint8_tensors(integer, index)
        # Float readers of a tensor produced in float do not need it quantized.
        edges = frozenset(
            edge
            for name in read | written
            for edge in index.edges(name)
            if name in written or edge.reader in integer
        )
        absorbed = frozenset(
            name
            for name in read | written
            if index.producers[name].op_type in ACTIVATIONS and edges.issuperset(index.edges(name))
        )
    weighted = [node for node in integer.values() if node.op_type in WEIGHT_AXES]
    return Placement(
        edges=edges,
        weights={Edge(node.output[0], 1): WEIGHT_AXES[node.op_type] for node in weighted},
        absorbed=absorbed - index.externally_read,
        shared=_groups(n for n in integer.values() if n.op_type in _ONE_SCALE[dialect]),
        in_float=_in_float(index, integer),
    )


def activations_to_measure(model: onnx.ModelProto, dialect: Dialect) -> list[str]:
    """Return the activations that a dialect quantizes if no layer is kept in float.

    They are in graph order and include the network's outputs, where any value that is not finite
    would show.

    Args:
        model: An FP32 model, its nodes in topological order.
        dialect: The dialect.

    Raises:
        CxredgeError: As :func:`place`.
    """
    placement, index = place(model, dialect), GraphIndex(model.graph)
    needed = {index.name_at(edge) for edge in placement.edges}.union(*placement.shared)
    needed |= {output.name for output in model.graph.output}
    return [name for name in float_activations(model) if name in needed]


def _check(index: GraphIndex, keep: Collection[str]) -> None:
    convolutions = [node for node in index.graph.node if node.op_type in WEIGHT_AXES]
    if not convolutions:
        raise CxredgeError(
            "The graph has no convolution, so there is nothing to quantize.",
            "Use --precision fp32.",
        )
    for node in convolutions:
        if node.input[1] not in index.constants and node.name not in keep:
            raise CxredgeError(
                f"{node.op_type} {node.name or node.output[0]!r} reads its weights from "
                f"{node.input[1]!r}, which is not an initializer; only constant weights can be "
                "quantized.",
                "Export the model again with constants folded: cxredge export",
            )
    unknown = set(keep) - {node.name for node in index.graph.node}
    if unknown:
        raise CxredgeError(
            f"There is no node {sorted(unknown)[0]!r} to keep in float.",
            "List the graph's nodes: cxredge inspect",
        )


def _integer_nodes(
    index: GraphIndex, floats: set[str], dialect: Dialect, keep: Collection[str]
) -> dict[str, onnx.NodeProto]:
    """Return the nodes that compute on integers, by first output; readers are decided first."""
    chosen: dict[str, onnx.NodeProto] = {}

    def all_readers_chosen(name: str) -> bool:
        edges = index.edges(name)
        return (
            bool(edges)
            and name not in index.externally_read
            and all(e.reader in chosen for e in edges)
        )

    for node in reversed(index.graph.node):
        always = node.name not in keep and _is_always_integer(node, floats, dialect)
        writes_integer = always and dialect is Dialect.CPU
        for name in node.output:
            if not all_readers_chosen(name) and not writes_integer:
                # The tensor is needed in float in any case: an integer copy would be extra work.
                for reader in index.readers(name):
                    if _may_pass_integers(reader, dialect):
                        chosen.pop(reader.output[0], None)
        may_pass = node.name not in keep and _may_pass_integers(node, dialect)
        passes = may_pass and all_readers_chosen(node.output[0]) and _activations(node) <= floats
        if always or passes:
            chosen[node.output[0]] = node
    return dict(reversed(chosen.items()))


def _is_always_integer(node: onnx.NodeProto, floats: set[str], dialect: Dialect) -> bool:
    """Return whether a node computes on integers regardless of its readers."""
    if node.op_type == "Add":
        return set(node.input) <= floats
    return node.op_type in _WEIGHTED[dialect]


def _may_pass_integers(node: onnx.NodeProto, dialect: Dialect) -> bool:
    """Return whether a node can pass integers on."""
    if node.op_type in _PASSING:
        return len(node.output) == 1
    # On a CPU, quantization clamps as an activation does. Symmetric int8 before a ReLU would spend
    # half of its levels on values that the ReLU removes: on an untrained NASNetMobile, int8 on both
    # sides of the ReLUs increased the error by half.
    return dialect is Dialect.CPU and node.op_type in ACTIVATIONS


def _activations(node: onnx.NodeProto) -> set[str]:
    """Return the inputs of an integer node that are activations."""
    return set(node.input) if node.op_type in ("Add", "Concat") else {node.input[0]}


def _int8_edges(node: onnx.NodeProto, index: GraphIndex) -> list[Edge]:
    """Return the int8 edges of a node for TensorRT: all activations, except one of an addition."""
    names = _activations(node)
    edges = [Edge(node.output[0], i) for i, name in enumerate(node.input) if name in names]
    if node.op_type != "Add":
        return edges
    sums = [edge for edge in edges if index.ends_convolution(index.name_at(edge))]
    # TensorRT fuses the addition into the last convolution, when the other branch is computed.
    fused = max(sums, key=lambda edge: index.order[index.name_at(edge)], default=None)
    return [edge for edge in edges if edge != fused]


def _uint8_tensors(
    integer: Mapping[str, onnx.NodeProto], index: GraphIndex
) -> tuple[set[str], set[str]]:
    """Return the tensors that ONNX Runtime's integer kernels read, and those they write."""
    kernels = [node for node in integer.values() if node.op_type not in ACTIVATIONS]
    outputs = {output.name for output in index.graph.output}
    read = {name for node in kernels for name in _activations(node)}
    return read - outputs, {_result(node, index) for node in kernels} - outputs


def _result(node: onnx.NodeProto, index: GraphIndex) -> str:
    """Return the output of a kernel: that of its activation, if only the activation reads it."""
    name: str = node.output[0]
    # A max pool shares its input's scale, whose range seldom ends at the activation's limits.
    if node.op_type == "MaxPool" or not index.is_read_once(name):
        return name
    reader = index.readers(name)[0]
    if reader.op_type in ACTIVATIONS:
        name = reader.output[0]
    return name


def _groups(nodes: Iterable[onnx.NodeProto]) -> tuple[frozenset[str], ...]:
    """Return the inputs and outputs of each node, merging groups that overlap."""
    groups: list[set[str]] = []
    for node in nodes:
        group = _activations(node) | {node.output[0]}
        apart = [other for other in groups if not other & group]
        groups = [*apart, group.union(*(other for other in groups if other & group))]
    return tuple(frozenset(group) for group in groups)


def _in_float(index: GraphIndex, integer: Mapping[str, onnx.NodeProto]) -> dict[str, int]:
    nodes = list(index.graph.node)
    first = next(i for i, node in enumerate(nodes) if node.op_type in WEIGHT_AXES)
    kinds = (n.op_type for n in nodes[first:] if n.output[0] not in integer)
    return dict(sorted(Counter(kind for kind in kinds if kind not in ACTIVATIONS).items()))
