"""Centred activations: the network is equivalent, and int8 rounding errors are smaller."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxredge.graph.nodes import set_attribute
from cxredge.quantization.config import QuantizeConfig
from cxredge.quantization.correction.centring import centre, find_centrable_clips
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.ranges.measure import measure
from cxredge.quantization.ranges.statistics import Ranges
from cxredge.quantization.sessions import session_with_outputs
from cxredge.vocabulary import Dialect, Effort, RangeMethod
from tests.quantization.small_graphs import initializers, network, set_initializer

MAKE, CLIP, READ = "c = Conv(x, w1, b1)", "a = Clip(c, s0, s6)", "y = Conv(a, w2, b2)"
PADDED = "y = Conv<pads=[1, 1, 1, 1]>(a, w2, b2)"
ENDS = {"a": (-6.0, 6.0), "c": (-9.0, 9.0), "d": (-6.0, 6.0)}


def clipped(*nodes: str, low: float = 0.0, high: float = 6.0) -> onnx.ModelProto:
    model = network(*nodes)
    for name, value in (("s0", low), ("s6", high)):
        if name in initializers(model):
            set_initializer(model, name, np.float32(value))
    return model


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 16, (6, 8, 8), dtype=np.uint8)


def values_of(model: onnx.ModelProto, name: str, pixels: np.ndarray) -> np.ndarray:
    (found,) = session_with_outputs(model, [name]).run([name], {"image": pixels[:, None]})
    return np.asarray(found)


@pytest.mark.parametrize(
    "readers",
    [
        (READ,),
        ("p = Conv(a, w2, b2)", "q = Conv(a, w3, b3)", "y = Add(p, q)"),
        ("b = Conv(a, w2, b2)", "d = Clip(b, s0, s6)", "y = Conv(d, w3, b3)"),
    ],
    ids=["one", "two", "in a row"],
)
def test_the_network_is_equivalent(readers: tuple[str, ...], pixels: np.ndarray) -> None:
    model = clipped(MAKE, CLIP, *readers)
    before = model.SerializeToString()
    centred = centre(model, ENDS)
    same, moves = centred.model, centred.moves
    assert model.SerializeToString() == before
    assert set(moves) == {"a", "d"} & {node.output[0] for node in model.graph.node}
    assert values_of(same, "y", pixels) == pytest.approx(values_of(model, "y", pixels), abs=1e-4)
    was, now = values_of(model, "a", pixels), values_of(same, "a", pixels)
    assert (was.min(), was.max()) == (0.0, 6.0), "both limits are reached"
    assert now == pytest.approx(was - moves["a"], abs=1e-5)
    assert [node.op_type for node in same.graph.node] == [n.op_type for n in model.graph.node]


@pytest.mark.parametrize(
    ("nodes", "low"),
    [
        ((MAKE, CLIP, PADDED), 0.0),
        ((MAKE, CLIP, READ), -1.0),
        ((MAKE, "a = Clip(c, s0)", READ), 0.0),
        ((MAKE, "a = Relu(c)", READ), 0.0),
        (("c = Conv(x, w1)", CLIP, READ), 0.0),
        ((MAKE, CLIP, "y = Conv(a, w2, b1)"), 0.0),
        ((MAKE, CLIP, "y = Conv(a, w2)"), 0.0),
        ((MAKE, CLIP, "d = Conv(a, w2, b2)", "y = Add(a, d)"), 0.0),
        ((MAKE, CLIP, "d = Conv(a, w2, b2)", "y = Add(c, d)"), 0.0),
        (("a = Clip(x, s0, s6)", READ), 0.0),
        ((MAKE, "y = Clip(c, s0, s6)"), 0.0),
    ],
    ids=[
        "padding is zero", "begins below", "never ends", "not clipped", "nothing to take the move",
        "a bias of two", "nothing to make up for it", "added", "sum read as well",
        "no bias before", "the output",
    ],
)  # fmt: skip
def test_other_activations_are_not_centred(nodes: tuple[str, ...], low: float) -> None:
    model = clipped(*nodes, low=low)
    assert find_centrable_clips(model) == []
    centred = centre(model, ENDS)
    same, moves = centred.model, centred.moves
    assert same.SerializeToString() == model.SerializeToString()
    assert moves == {}


def test_automatic_padding_counts_as_padding() -> None:
    model = clipped(MAKE, CLIP, READ)
    assert len(find_centrable_clips(model)) == 1
    for automatic, bridges in ((b"VALID", 1), (b"SAME_UPPER", 0)):
        set_attribute(model.graph.node[-1], "auto_pad", automatic)
        assert len(find_centrable_clips(model)) == bridges


@given(st.floats(1e-3, 1e3))
def test_fp16_represents_zero_exactly(high: float) -> None:
    model = clipped(MAKE, CLIP, READ, high=high)
    centred = centre(model, {"a": (-high, high)})
    low, top = centred.ranges["a"]
    assert low == -centred.moves["a"]
    assert high <= top - low < 1.04 * high
    assert np.float16(top / 127) == top / 127
    assert np.float16(low) == low
    assert low / (top / 127) == -124


def test_int8_rounding_errors_are_halved(pixels: np.ndarray) -> None:
    model = clipped(MAKE, CLIP, READ)
    ranges = measure(model, [pixels], lambda _: None).ranges(RangeMethod.MINMAX, symmetric=True)
    centred = centre(model, ranges)

    def noise(graph: onnx.ModelProto, chosen: Ranges) -> float:
        emitted = emit(graph, chosen, Dialect.TENSORRT)
        read = next(node.input[0] for node in emitted.graph.node if node.output[0] == "y")
        exact, rounded = (values_of(emitted, name, pixels) for name in ("a", read))
        return float(np.std(rounded - exact))

    assert noise(centred.model, centred.ranges) < 0.65 * noise(model, ranges)


def test_statistics_shift_with_the_activation(pixels: np.ndarray) -> None:
    model = clipped(MAKE, CLIP, READ)
    statistics = measure(model, [pixels], lambda _: None)
    centred = centre(model, ENDS)
    moved = statistics.moved(centred.moves)
    measured = measure(centred.model, [pixels], lambda _: None)
    assert moved.histograms["y"] is statistics.histograms["y"]
    one, other = moved.histograms["a"], measured.histograms["a"]
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-5)
    assert one.total == other.total
    assert one.exponent == other.exponent
    for power in (1, 2):
        means = [np.average(h.centres**power, weights=h.counts) for h in (one, other)]
        assert means[0] == pytest.approx(means[1], abs=one.width)


@pytest.mark.parametrize("effort", Effort)
@pytest.mark.parametrize("dialect", Dialect)
def test_extensive_effort_centres_for_tensorrt(dialect: Dialect, effort: Effort) -> None:
    config = QuantizeConfig(dialect, effort)
    extensive = (dialect, effort) == (Dialect.TENSORRT, Effort.EXTENSIVE)
    assert config.plan(frozenset()).centre is extensive
    for asked in (True, False):
        assert replace(config, centre=asked).plan(frozenset()).centre is asked
