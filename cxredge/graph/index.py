"""Index of an ONNX graph: which node produces and which nodes read each tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import onnx

from cxredge.graph.nodes import Array, constants_of, externally_read

WEIGHT_AXES: Mapping[str, int] = {"Conv": 0, "ConvTranspose": 1}
"""Axis of the output channels in a weight, by operator."""

ACTIVATIONS = frozenset({"Relu", "Clip"})
"""Activations that an INT8 kernel applies when it writes its output, at no cost."""


class Edge(NamedTuple):
    """One tensor as one input of one node.

    Attributes:
        reader: First output of the node that reads the tensor. Unlike a node name, it always
            exists and is unique.
        position: Position of the tensor among the node's inputs.
    """

    reader: str
    position: int


@dataclass(frozen=True)
class GraphIndex:
    """Producers and readers of the tensors of a graph.

    Attributes:
        graph: The graph; its nodes are in topological order.
    """

    graph: onnx.GraphProto

    @cached_property
    def constants(self) -> dict[str, Array]:
        """Values of the initializers that a caller cannot override."""
        return constants_of(self.graph)

    @cached_property
    def producers(self) -> dict[str, onnx.NodeProto]:
        """Node that produces each tensor; graph inputs and initializers have none."""
        return {name: node for node in self.graph.node for name in node.output if name}

    @cached_property
    def order(self) -> dict[str, int]:
        """Position in the graph of the node that produces each tensor."""
        return {name: i for i, node in enumerate(self.graph.node) for name in node.output}

    @cached_property
    def externally_read(self) -> set[str]:
        """Graph outputs, and tensors that subgraphs capture."""
        return externally_read(self.graph)

    @cached_property
    def _edges(self) -> dict[str, list[Edge]]:
        found: dict[str, list[Edge]] = {}
        for node in self.graph.node:
            for position, name in enumerate(node.input):
                if name:
                    found.setdefault(name, []).append(Edge(node.output[0], position))
        return found

    def edges(self, name: str) -> list[Edge]:
        """Return the edges of a tensor, in graph order."""
        return self._edges.get(name, [])

    def name_at(self, edge: Edge) -> str:
        """Return the tensor of an edge."""
        name: str = self.producers[edge.reader].input[edge.position]
        return name

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """Return the nodes that read a tensor, one per edge."""
        return [self.producers[edge.reader] for edge in self.edges(name)]

    def is_read_once(self, name: str) -> bool:
        """Return whether a tensor has a single edge and is not read externally."""
        return len(self.edges(name)) == 1 and name not in self.externally_read

    def ends_convolution(self, name: str) -> bool:
        """Return whether a tensor is the output of a convolution, or of its activation.

        Each tensor on the way from the convolution must be read once.
        """
        while self.is_read_once(name) and (node := self.producers.get(name)) is not None:
            if node.op_type in WEIGHT_AXES:
                return True
            if node.op_type not in ACTIVATIONS:
                return False
            name = node.input[0]
        return False

    def bounds(self, node: onnx.NodeProto) -> tuple[float, float] | None:
        """Return the limits of a Relu or Clip, or None if they are computed."""
        if node.op_type == "Relu":
            return 0.0, math.inf
        names = [*node.input[1:], "", ""][:2]
        if any(name and name not in self.constants for name in names):
            return None
        low, high = (self.constants[name].item() if name else None for name in names)
        return -math.inf if low is None else float(low), math.inf if high is None else float(high)
