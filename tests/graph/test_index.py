"""The index of a graph: producers, readers, limits of activations, and edits of nodes."""

from __future__ import annotations

import math

import onnx
import pytest
from onnx import parser

from cxredge.graph.index import Edge, GraphIndex
from cxredge.graph.nodes import attribute_of, copy_of, replace_nodes, set_attribute

GRAPH = """
<ir_version: 8, opset_import: ["": 17]>
g (float[1,1,4,4] x, bool taken) => (float y)
   <float[1,1,1,1] w = {1}, float[1] b = {0}, float low = {0}, float high = {6}, float unused = {1}>
{
   c = Conv(x, w, b)
   r = Clip(c, low, high)
   d = Conv(r, w)
   s = Add(d, r)
   e = Relu(s)
   y = If(taken) <
      then_branch = first () => (float p) { p = Identity(e) },
      else_branch = second () => (float q) { q = Neg(e) }
   >
}
"""


@pytest.fixture
def index() -> GraphIndex:
    return GraphIndex(parser.parse_model(GRAPH).graph)


def node(index: GraphIndex, name: str) -> onnx.NodeProto:
    return index.producers[name]


def test_edges_are_in_graph_order(index: GraphIndex) -> None:
    assert index.edges("r") == [Edge("d", 0), Edge("s", 1)]
    assert index.name_at(Edge("s", 1)) == "r"
    assert [reader.op_type for reader in index.readers("r")] == ["Conv", "Add"]
    assert index.edges("y") == []
    assert "x" not in index.producers
    assert index.order["c"] < index.order["r"]


def test_subgraphs_and_outputs_count_as_external_readers(index: GraphIndex) -> None:
    assert index.externally_read == {"e", "y"}
    assert index.is_read_once("c")
    assert not index.is_read_once("r")
    assert not index.is_read_once("e")


def test_a_convolution_ends_behind_its_activation_if_nothing_else_reads_it(
    index: GraphIndex,
) -> None:
    assert index.ends_convolution("d")
    assert index.ends_convolution("c")
    assert not index.ends_convolution("r"), "read twice"
    assert not index.ends_convolution("s"), "an addition"


def test_bounds_of_activations(index: GraphIndex) -> None:
    assert index.bounds(node(index, "e")) == (0.0, math.inf)
    assert index.bounds(node(index, "r")) == (0.0, 6.0)
    clip = node(index, "r")
    clip.input[1] = ""
    assert index.bounds(clip) == (-math.inf, 6.0)
    clip.input[2] = "x"
    assert index.bounds(clip) is None, "computed"


def test_replaced_nodes_leave_no_unused_initializer() -> None:
    graph = copy_of(parser.parse_model(GRAPH)).graph
    kept = [one for one in graph.node if one.op_type != "Clip"]
    replace_nodes(graph, kept)
    assert [one.op_type for one in graph.node] == ["Conv", "Conv", "Add", "Relu", "If"]
    assert {tensor.name for tensor in graph.initializer} == {"w", "b"}


def test_an_attribute_is_set_once() -> None:
    made = onnx.helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1], group=2)
    set_attribute(made, "pads", [0, 0, 0, 0])
    assert attribute_of(made, "pads", None) == [0, 0, 0, 0]
    assert attribute_of(made, "group", 1) == 2
    assert attribute_of(made, "strides", [1, 1]) == [1, 1]
    assert len(made.attribute) == 2
