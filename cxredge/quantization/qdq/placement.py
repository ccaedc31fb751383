"""Where QuantizeLinear and DequantizeLinear belong in a graph, by dialect; no number involved.

Two kinds of nodes work on integers. Convolutions and additions of two activations always do. Pools
and concatenations carry integers on where all that follow take them: alone, they would only add a
rounding. All others stay in float: what normalises the image, the head, whose few
thousand weights would cost fidelity and save no time, and operators without a rule.

TensorRT decides per edge. A convolution adds the skip branch of a residual on its way out, so that
branch is quantized and the convolution's own is not (NVIDIA's quantization toolkit for TensorFlow
places them so, ``custom_qdq_cases.py``). ONNX Runtime decides per tensor: its integer kernels need
their inputs and their output quantized, and nobody else may read the float between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import onnx

from cxredge.errors import CxredgeError
from cxredge.graph.wiring import ACTIVATIONS, WEIGHT_AXES, Edge, Wiring
from cxredge.quantization.ranges.measure import float_activations
from cxredge.vocabulary import Dialect

_POOLS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool"})
_CARRIERS = _POOLS | {"Concat"}
# ONNX Runtime has no integer kernel for ConvTranspose on the CPU.
_WEIGHTED = {Dialect.CPU: frozenset({"Conv"}), Dialect.TENSORRT: frozenset(WEIGHT_AXES)}
# These only pick values, so one scale in and out loses nothing and lets runtimes drop the pairs.
_ONE_SCALE = {
    Dialect.CPU: frozenset({"MaxPool"}),
    Dialect.TENSORRT: frozenset({"MaxPool", "Concat"}),
}


@dataclass(frozen=True)
class Placement:
    """What to quantize.

    Attributes:
        edges: Where a node reads an activation quantized and dequantized again.
        weights: Where a node reads a quantized weight, with the axis of its output channels.
        absorbed: First outputs of activations that the quantization of their result can stand for,
            if its range ends where the activation does.
        shared: Groups of activations that have one scale.
        in_float: How many nodes behind the first convolution stay in float, by operator, less
            the activations: they are part of the node before.
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
        dialect: Whose rules.
        keep: Names of nodes that stay in float.

    Raises:
        CxredgeError: The graph has no convolution, one with computed weights, or no node of a name
            in ``keep``.
    """
    wiring = Wiring(model.graph)
    _check(wiring, keep)
    integer = _integer_nodes(wiring, set(float_activations(model)), dialect, keep)
    if dialect is Dialect.TENSORRT:
        edges = frozenset(edge for node in integer.values() for edge in _int8_edges(node, wiring))
        absorbed: frozenset[str] = frozenset()
    else:
        read, made = _uint8_tensors(integer, wiring)
        # What is made in float, those that compute in float read as it is.
        edges = frozenset(
            edge
            for name in read | made
            for edge in wiring.edges(name)
            if name in made or edge.reader in integer
        )
        absorbed = frozenset(
            name
            for name in read | made
            if wiring.producers[name].op_type in ACTIVATIONS
            and edges.issuperset(wiring.edges(name))
        )
    weighted = [node for node in integer.values() if node.op_type in WEIGHT_AXES]
    return Placement(
        edges=edges,
        weights={Edge(node.output[0], 1): WEIGHT_AXES[node.op_type] for node in weighted},
        absorbed=absorbed - wiring.fixed,
        shared=_groups(n for n in integer.values() if n.op_type in _ONE_SCALE[dialect]),
        in_float=_in_float(wiring, integer),
    )


def activations_to_measure(model: onnx.ModelProto, dialect: Dialect) -> list[str]:
    """Return the activations that a dialect quantizes where nothing is kept in float.

    In graph order; the network's outputs are among them, where all shows that is not finite.

    Args:
        model: An FP32 model, its nodes in topological order.
        dialect: Whose rules.

    Raises:
        CxredgeError: As :func:`place`.
    """
    placement, wiring = place(model, dialect), Wiring(model.graph)
    needed = {wiring.name_at(edge) for edge in placement.edges}.union(*placement.shared)
    needed |= {output.name for output in model.graph.output}
    return [name for name in float_activations(model) if name in needed]


def _check(wiring: Wiring, keep: Collection[str]) -> None:
    convolutions = [node for node in wiring.graph.node if node.op_type in WEIGHT_AXES]
    if not convolutions:
        raise CxredgeError(
            "The graph has no convolution, so there is nothing to quantize.",
            "Use --precision fp32.",
        )
    for node in convolutions:
        if node.input[1] not in wiring.constants and node.name not in keep:
            raise CxredgeError(
                f"{node.op_type} {node.name or node.output[0]!r} reads its weights from "
                f"{node.input[1]!r}, which is not an initializer; only constant weights can be "
                "quantized.",
                "Export the model again with constants folded: cxredge export",
            )
    unknown = set(keep) - {node.name for node in wiring.graph.node}
    if unknown:
        raise CxredgeError(
            f"There is no node {sorted(unknown)[0]!r} to keep in float.",
            "List the graph's nodes: cxredge inspect",
        )


def _integer_nodes(
    wiring: Wiring, floats: set[str], dialect: Dialect, keep: Collection[str]
) -> dict[str, onnx.NodeProto]:
    """Return the nodes that work on integers by their first output; readers decide first."""
    chosen: dict[str, onnx.NodeProto] = {}

    def all_take(name: str) -> bool:
        edges = wiring.edges(name)
        return bool(edges) and name not in wiring.fixed and all(e.reader in chosen for e in edges)

    for node in reversed(wiring.graph.node):
        firm = node.name not in keep and _is_firm(node, wiring, floats, dialect)
        made_integer = firm and dialect is Dialect.CPU
        for name in node.output:
            if not all_take(name) and not made_integer:
                # The tensor is needed in float anyway: carrying integers would only add a copy.
                for reader in wiring.readers(name):
                    if _may_carry(reader, dialect):
                        chosen.pop(reader.output[0], None)
        carries = node.name not in keep and _may_carry(node, dialect)
        carried = carries and all_take(node.output[0]) and _activations(node) <= floats
        if firm or carried:
            chosen[node.output[0]] = node
    return dict(reversed(chosen.items()))


def _is_firm(node: onnx.NodeProto, wiring: Wiring, floats: set[str], dialect: Dialect) -> bool:
    """Whether a node works on integers whatever follows it."""
    if node.op_type == "Add":
        return set(node.input) <= floats
    return node.op_type in _WEIGHTED[dialect]


def _may_carry(node: onnx.NodeProto, dialect: Dialect) -> bool:
    """Whether a node can hand integers on."""
    if node.op_type in _CARRIERS:
        return len(node.output) == 1
    # An activation clamps anyway. Around zero, that is half the steps of what comes before it: on
    # an untrained NASNetMobile, int8 on both sides of its ReLUs made half as much error again.
    return dialect is Dialect.CPU and node.op_type in ACTIVATIONS


def _activations(node: onnx.NodeProto) -> set[str]:
    """Return the inputs of an integer node that depend on the image."""
    return set(node.input) if node.op_type in ("Add", "Concat") else {node.input[0]}


def _int8_edges(node: onnx.NodeProto, wiring: Wiring) -> list[Edge]:
    """Return where a node of TensorRT's reads int8: all its activations, but one to be added to."""
    names = _activations(node)
    edges = [Edge(node.output[0], i) for i, name in enumerate(node.input) if name in names]
    if node.op_type != "Add":
        return edges
    sums = [edge for edge in edges if wiring.ends_convolution(wiring.name_at(edge))]
    # The last convolution finds the other branch computed.
    fused = max(sums, key=lambda edge: wiring.order[wiring.name_at(edge)], default=None)
    return [edge for edge in edges if edge != fused]


def _uint8_tensors(
    integer: Mapping[str, onnx.NodeProto], wiring: Wiring
) -> tuple[set[str], set[str]]:
    """Return what ONNX Runtime's integer kernels read, and what they write."""
    kernels = [node for node in integer.values() if node.op_type not in ACTIVATIONS]
    outputs = {output.name for output in wiring.graph.output}
    read = {name for node in kernels for name in _activations(node)}
    return read - outputs, {_result(node, wiring) for node in kernels} - outputs


def _result(node: onnx.NodeProto, wiring: Wiring) -> str:
    """Return what a kernel writes: behind the activation, if that alone reads the output."""
    name: str = node.output[0]
    # A max pool has the scale of its input, which seldom ends where the activation does.
    if node.op_type == "MaxPool" or not wiring.read_once(name):
        return name
    reader = wiring.readers(name)[0]
    if reader.op_type in ACTIVATIONS:
        name = reader.output[0]
    return name


def _groups(nodes: Iterable[onnx.NodeProto]) -> tuple[frozenset[str], ...]:
    """Return the inputs and outputs of each node, groups with a common member made one."""
    groups: list[set[str]] = []
    for node in nodes:
        group = _activations(node) | {node.output[0]}
        apart = [other for other in groups if not other & group]
        groups = [*apart, group.union(*(other for other in groups if other & group))]
    return tuple(frozenset(group) for group in groups)


def _in_float(wiring: Wiring, integer: Mapping[str, onnx.NodeProto]) -> dict[str, int]:
    nodes = list(wiring.graph.node)
    first = next(i for i, node in enumerate(nodes) if node.op_type in WEIGHT_AXES)
    kinds = (n.op_type for n in nodes[first:] if n.output[0] not in integer)
    return dict(sorted(Counter(kind for kind in kinds if kind not in ACTIVATIONS).items()))
