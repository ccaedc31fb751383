"""Who makes and who reads each tensor of an ONNX graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import onnx

from cxredge.graph.nodes import Array, constants_of, observed

WEIGHT_AXES: Mapping[str, int] = {"Conv": 0, "ConvTranspose": 1}
"""The axis of a weight that counts output channels, by operator."""

ACTIVATIONS = frozenset({"Relu", "Clip"})
"""Activations that an INT8 kernel applies on its way out, at no cost."""


class Edge(NamedTuple):
    """One tensor on its way into one node.

    Attributes:
        reader: First output of the node that reads; unlike node names, it is always there and
            unique.
        position: Which of its inputs.
    """

    reader: str
    position: int


@dataclass(frozen=True)
class Wiring:
    """A graph, seen by its tensors.

    Attributes:
        graph: The graph; its nodes are in topological order.
    """

    graph: onnx.GraphProto

    @cached_property
    def constants(self) -> dict[str, Array]:
        """Values of the initializers that no caller can override."""
        return constants_of(self.graph)

    @cached_property
    def producers(self) -> dict[str, onnx.NodeProto]:
        """The node that makes each tensor; graph inputs and initializers have none."""
        return {name: node for node in self.graph.node for name in node.output if name}

    @cached_property
    def order(self) -> dict[str, int]:
        """Position in the graph of the node that makes each tensor."""
        return {name: i for i, node in enumerate(self.graph.node) for name in node.output}

    @cached_property
    def fixed(self) -> set[str]:
        """Names that are read from outside: graph outputs, and what subgraphs capture."""
        return observed(self.graph)

    @cached_property
    def _edges(self) -> dict[str, list[Edge]]:
        found: dict[str, list[Edge]] = {}
        for node in self.graph.node:
            for position, name in enumerate(node.input):
                if name:
                    found.setdefault(name, []).append(Edge(node.output[0], position))
        return found

    def edges(self, name: str) -> list[Edge]:
        """Return where a tensor is read, in graph order."""
        return self._edges.get(name, [])

    def name_at(self, edge: Edge) -> str:
        """Return the tensor that an edge carries."""
        name: str = self.producers[edge.reader].input[edge.position]
        return name

    def readers(self, name: str) -> list[onnx.NodeProto]:
        """Return the nodes that read a tensor, one for each edge."""
        return [self.producers[edge.reader] for edge in self.edges(name)]

    def read_once(self, name: str) -> bool:
        """Whether a single edge, and nothing outside, reads a tensor."""
        return len(self.edges(name)) == 1 and name not in self.fixed

    def ends_convolution(self, name: str) -> bool:
        """Whether a tensor is a convolution's, activation included, and nobody else reads it."""
        while self.read_once(name) and (node := self.producers.get(name)) is not None:
            if node.op_type in WEIGHT_AXES:
                return True
            if node.op_type not in ACTIVATIONS:
                return False
            name = node.input[0]
        return False

    def bounds(self, node: onnx.NodeProto) -> tuple[float, float] | None:
        """Return what a Relu or Clip limits values to, or None where that is computed."""
        if node.op_type == "Relu":
            return 0.0, math.inf
        names = [*node.input[1:], "", ""][:2]
        if any(name and name not in self.constants for name in names):
            return None
        low, high = (self.constants[name].item() if name else None for name in names)
        return -math.inf if low is None else float(low), math.inf if high is None else float(high)
