"""Placement of Q/DQ nodes: one small graph per rule."""

from __future__ import annotations

import pytest

from cxredge.errors import CxredgeError
from cxredge.graph.index import GraphIndex
from cxredge.quantization.qdq.placement import Placement, place
from cxredge.vocabulary import Dialect
from tests.quantization.small_graphs import network

TENSORRT, CPU = Dialect.TENSORRT, Dialect.CPU


def reads(placement: Placement, *given: str) -> set[str]:
    """Return the quantized edges as ``tensor>reader``."""
    index = GraphIndex(network(*given).graph)
    return {f"{index.name_at(edge)}>{edge.reader}" for edge in placement.edges} - {"i>x"}


def placed(dialect: Dialect, *nodes: str, keep: tuple[str, ...] = ()) -> set[str]:
    return reads(place(network(*nodes), dialect, keep), *nodes)


IDENTITY = ("c = Conv(x, w)", "y = Add(c, x)")
PROJECTION = ("c = Conv(x, w)", "s = Conv(x, w)", "y = Add(c, s)")
ACTIVATED = ("c = Conv(x, w)", "r = Relu(c)", "y = Add(x, r)")
READ_TWICE = ("c = Conv(x, w)", "t = Add(c, x)", "y = Mul(t, c)")


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (IDENTITY, {"x>c", "x>y"}),
        (PROJECTION, {"x>c", "x>s", "c>y"}),
        (ACTIVATED, {"x>c", "x>y"}),
        (READ_TWICE, {"x>c", "x>t", "c>t"}),
        (("h = HardSigmoid(x)", "g = Tanh(x)", "y = Add(h, g)"), {"h>y", "g>y"}),
        (("c = Conv(x, w)", "y = Add(c, s)"), {"x>c"}),
    ],
    ids=["identity", "projection", "activated", "read twice", "no convolution", "constant"],
)
def test_tensorrt_quantizes_the_skip_branch_only(
    nodes: tuple[str, ...], expected: set[str]
) -> None:
    assert placed(TENSORRT, *nodes) == expected


@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("dialect", Dialect)
def test_a_pool_between_convolutions_passes_integers(dialect: Dialect, pool: str) -> None:
    nodes = (f"p = {pool}<kernel_shape=[2,2]>(x)", "y = Conv(p, w)")
    assert placed(dialect, *nodes) == {"x>p", "p>y"}


def test_a_pool_before_the_head_stays_in_float() -> None:
    nodes = ("c = Conv(x, w)", "p = GlobalAveragePool(c)", "y = Flatten(p)")
    assert placed(TENSORRT, *nodes) == {"x>c"}
    # A convolution on a CPU requires a quantized output regardless of its readers.
    assert placed(CPU, *nodes) == {"x>c", "c>p"}
    assert place(network(*nodes), CPU).in_float == {"GlobalAveragePool": 1, "Flatten": 1}


def test_tensorrt_passes_no_integers_if_floats_are_needed_too() -> None:
    nodes = ("p = GlobalAveragePool(x)", "g = Conv(p, w)", "y = Mul(x, g)")
    assert placed(TENSORRT, *nodes) == {"p>g"}


def test_cpu_pools_integers_if_the_input_is_quantized_anyway() -> None:
    nodes = ("p = GlobalAveragePool(x)", "g = Conv(p, w)", "y = Mul(x, g)")
    assert place(network(*nodes), CPU).in_float == {"Mul": 1}


def test_cpu_max_pool_keeps_the_scale_of_its_input() -> None:
    nodes = ("p = MaxPool<kernel_shape=[2,2]>(x)", "r = Relu(p)", "y = Conv(r, w)")
    placement = place(network(*nodes), CPU)
    assert reads(placement, *nodes) == {"x>p", "p>r", "r>y"}
    assert placement.shared == (frozenset({"x", "p"}),)


def test_cpu_quantizes_nothing_for_a_pool_alone() -> None:
    nodes = ("h = Tanh(x)", "p = GlobalAveragePool(h)", "g = Conv(p, w)", "y = Mul(h, g)")
    assert placed(CPU, *nodes) == {"x>h", "p>g", "g>y"}


def test_concat_and_max_pool_share_one_scale_in_tensorrt() -> None:
    nodes = (
        "a = Conv(x, w)",
        "p = MaxPool<kernel_shape=[1,1]>(x)",
        "k = Concat<axis=2>(a, p)",
        "y = Conv(k, w)",
    )
    placement = place(network(*nodes), TENSORRT)
    assert reads(placement, *nodes) == {"x>a", "x>p", "a>k", "p>k", "k>y"}
    assert placement.shared == (frozenset({"a", "p", "k", "x"}),)
    assert place(network(*nodes), CPU).shared == (frozenset({"x", "p"}),)


def test_concat_before_float_stays_in_float() -> None:
    nodes = ("a = Conv(x, w)", "k = Concat<axis=2>(a, x)", "t = Tanh(k)", "y = Conv(t, w)")
    assert placed(TENSORRT, *nodes) == {"x>a", "t>y"}


def test_cpu_quantizes_what_integer_kernels_read_and_write() -> None:
    nodes = ("c = Conv(x, w)", "r = Relu(c)", "a = Add(r, x)", "y = Conv(a, w)")
    placement = place(network(*nodes), CPU)
    assert reads(placement, *nodes) == {"x>c", "r>a", "x>a", "a>y"}
    assert placement.absorbed == {"r"}


def test_cpu_passes_floats_between_float_nodes() -> None:
    stream = ("c = Conv(x, w)", "a = Add(c, x)", "d = Conv(a, w)", "b = Add(d, a)")
    nodes = (*stream, "y = Conv(b, w)")
    kernels = {"x>c", "x>a", "c>a", "a>d", "d>b", "b>y"}
    assert placed(CPU, *nodes, keep=("a", "b")) == kernels
    assert placed(CPU, *nodes) == kernels | {"a>b"}


def test_cpu_keeps_an_activation_with_float_readers() -> None:
    nodes = ("r = Relu(x)", "c = Conv(r, w)", "d = Conv(r, w)", "y = Add(c, d)")
    placement = place(network(*nodes), CPU, keep=("x", "d", "y"))
    assert reads(placement, *nodes) == {"r>c", "c>y"}
    assert placement.absorbed == frozenset()


def test_cpu_never_quantizes_an_output() -> None:
    assert placed(CPU, "y = Conv(x, w)") == {"x>y"}


def test_nodes_to_keep_read_no_integers() -> None:
    nodes = ("c = Conv(x, w)", "y = Conv(c, w)")
    assert placed(TENSORRT, *nodes, keep=("c",)) == {"c>y"}
    assert place(network(*nodes), TENSORRT, keep=["x", "c", "y"]).edges == frozenset()


def test_a_transposed_convolution_has_its_output_channels_on_axis_one() -> None:
    nodes = ("y = ConvTranspose(x, w)",)
    weights = place(network(*nodes), TENSORRT).weights
    assert {edge.reader: axis for edge, axis in weights.items()} == {"x": 0, "y": 1}
    assert "y" not in {edge.reader for edge in place(network(*nodes), CPU).weights}


def test_computed_weights_are_refused_by_name() -> None:
    model = network("v = Tanh(w)", "y = Conv(x, v)")
    with pytest.raises(CxredgeError, match=r"Conv 'y' reads its weights from 'v'"):
        place(model, TENSORRT)
    place(model, TENSORRT, keep=["y"])


def test_a_graph_without_convolutions_is_refused() -> None:
    model = network("y = Relu(x)")
    del model.graph.node[1]
    model.graph.node[1].input[0] = "i"
    with pytest.raises(CxredgeError, match="no convolution"):
        place(model, CPU)


def test_an_unknown_name_to_keep_is_refused() -> None:
    with pytest.raises(CxredgeError, match="no node 'z'"):
        place(network("y = Relu(x)"), CPU, keep=["x", "z"])
