"""Scales, zero points and integers of emitted graphs, and the results that they compute."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from cxredge.backends.onnxruntime import exact_options
from cxredge.errors import CxredgeError
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.qdq.parameters import weight_parameters
from cxredge.vocabulary import Dialect
from tests.quantization.small_graphs import (
    initializers,
    network,
    node_of,
    set_initializer,
    some_ranges,
    sources,
)

TENSORRT, CPU = Dialect.TENSORRT, Dialect.CPU
RESIDUAL = ("c = Conv(x, w, b)", "r = Relu(c)", "a = Add(r, x)", "y = Conv(a, w2, b2)")


def run(model: onnx.ModelProto, optimise: bool = True) -> np.ndarray:
    options = exact_options()
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    image = np.random.default_rng(1).integers(0, 3, (2, 1, 8, 8), dtype=np.uint8)
    (result,) = session.run(None, {"image": image})
    return np.asarray(result)


def measured(model: onnx.ModelProto) -> dict[str, tuple[float, float]]:
    """Return the true range of every activation on the image of ``run``."""
    found = {}
    for name in some_ranges(model):
        probe = onnx.ModelProto()
        probe.CopyFrom(model)
        probe.graph.output[0].name = name
        values = run(probe, optimise=False)
        found[name] = (float(values.min()), float(values.max()))
    return found


def test_activations_of_tensorrt_are_symmetric() -> None:
    model = network(*RESIDUAL)
    values = initializers(emit(model, some_ranges(model, x=(-5.0, 2.0)), TENSORRT))
    assert values["x_scale"] == np.float32(5 / 127)
    assert (values["x_zero_point"].dtype, values["x_zero_point"]) == (np.int8, 0)


def test_a_shared_scale_covers_the_widest_range() -> None:
    model = network("a = Conv(x, w)", "k = Concat<axis=2>(a, x)", "y = Conv(k, w)")
    ranges = some_ranges(model, a=(-7.0, 1.0), x=(0.0, 3.0), k=(-6.0, 2.0))
    values = initializers(emit(model, ranges, TENSORRT))
    assert {values[f"{name}_scale"].item() for name in "axk"} == {np.float32(7 / 127).item()}


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero_point"),
    [(-1, 3, 4 / 255, 64), (0, 6, 6 / 255, 0), (2, 6, 6 / 255, 0), (-3, -1, 3 / 255, 255)],
)
def test_activations_of_a_cpu_have_a_zero_point(
    low: float, high: float, scale: float, zero_point: int
) -> None:
    model = network("y = Conv(x, w)")
    values = initializers(emit(model, some_ranges(model, x=(low, high)), CPU))
    assert values["x_scale"] == np.float32(scale)
    assert (values["x_zero_point"].dtype, values["x_zero_point"]) == (np.uint8, zero_point)


@pytest.mark.parametrize("dialect", Dialect)
def test_a_tensor_that_was_always_zero_has_a_valid_scale(dialect: Dialect) -> None:
    model = network("y = Conv(x, w, b)")
    emitted = emit(model, some_ranges(model, x=(0.0, 0.0)), dialect)
    assert 0.001 < initializers(emitted)["x_scale"] < 0.01
    assert np.isfinite(run(emitted)).all()


def test_an_all_zero_channel_has_the_smallest_scale_of_the_others() -> None:
    weights = np.array([[0.0, 0.0], [127.0, -3.0], [2.54, 1.0]], np.float32)
    assert weight_parameters("w", weights, 0).scale == pytest.approx([0.02, 1, 0.02])
    assert weight_parameters("w", weights, 1).scale == pytest.approx([1, 3 / 127])
    assert weight_parameters("w", weights * 0, 0).scale == pytest.approx([1 / 127] * 3)


@pytest.mark.parametrize("dialect", Dialect)
def test_given_scales_are_written(dialect: Dialect) -> None:
    model = network("c = Conv(x, w)", "y = Conv(c, w2)")
    given = {"w": np.array([0.1, 0.2, 0.3, 0.4], np.float32)}
    values = initializers(emit(model, some_ranges(model), dialect, weight_scales=given))
    assert values["c_weight_scale"].tolist() == given["w"].tolist()
    expected = np.abs(initializers(model)["w2"]).max(axis=(1, 2, 3)) / 127
    assert values["y_weight_scale"] == pytest.approx(expected)


@pytest.mark.parametrize("scales", [[1, 1, 1], [1, 1, 1, 0], [1, 1, 1, np.nan]])
def test_invalid_scales_are_refused(scales: list[float]) -> None:
    model = network("y = Conv(x, w)")
    given = {"w": np.array(scales, np.float32)}
    with pytest.raises(CxredgeError, match="weight 'w'"):
        emit(model, some_ranges(model), CPU, weight_scales=given)


def test_a_bias_that_would_overflow_int32_raises_the_scale_of_its_weights() -> None:
    model = network("y = Conv(x, w, b)")
    weights = initializers(model)["w"].copy()
    weights[0] = 1e-12
    set_initializer(model, "w", weights)
    set_initializer(model, "b", np.array([1000, 1, 1, 1], np.float32))
    ranges = some_ranges(model)
    values = initializers(emit(model, ranges, CPU))
    assert values["y_bias_quantized"].dtype == np.int32
    restored = values["y_bias_quantized"] * values["y_bias_scale"].astype(float)
    assert restored == pytest.approx([1000, 1, 1, 1], rel=1e-2)
    assert abs(int(values["y_bias_quantized"][0])) == pytest.approx(2**30, rel=1e-6)
    with_float_bias = initializers(emit(model, ranges, CPU, float_bias=True))
    assert {name for name in with_float_bias if "bias" in name} == set()
    assert with_float_bias["b"].dtype == np.float32
    assert np.array_equal(with_float_bias["y_weight_scale"], values["y_weight_scale"])


def test_an_activation_is_absorbed_only_where_that_is_exact() -> None:
    nodes = ("c = Conv(x, w)", "r = Clip(c, s1, s2)", "y = Conv(r, w)")
    model = network(*nodes)
    set_initializer(model, "s1", np.array(0, np.float32))
    set_initializer(model, "s2", np.array(6, np.float32))
    for high, gone in ((5.0, True), (6.0, True), (6.1, False)):
        emitted = emit(model, some_ranges(model, r=(0.0, high)), CPU)
        assert ("Clip" not in {n.op_type for n in emitted.graph.node}) is gone
        assert sources(emitted, "y")[0] == ("q:c" if gone else "q:r")
    emitted = emit(model, some_ranges(model, r=(-1.0, 5.0)), CPU)
    assert "Clip" in {n.op_type for n in emitted.graph.node}


@pytest.mark.parametrize("dialect", Dialect)
def test_results_are_close_to_float(dialect: Dialect) -> None:
    nodes = (
        *RESIDUAL[:-1],
        "p = AveragePool<kernel_shape=[2,2]>(a)",
        "m = MaxPool<kernel_shape=[2,2]>(a)",
        "k = Concat<axis=2>(p, m)",
        "t = Relu(k)",
        "y = Conv(t, w2, b2)",
    )
    model = network(*nodes)
    reference = run(model)
    emitted = emit(model, measured(model), dialect)
    error = np.abs(run(emitted) - reference).max() / np.abs(reference).max()
    assert 0 < error < 0.03
    unfused = run(emitted, optimise=False)
    assert np.abs(run(emitted) - unfused).max() / np.abs(reference).max() < 0.01


@pytest.mark.parametrize("dialect", Dialect)
def test_emitting_twice_returns_the_same_bytes_and_changes_nothing(dialect: Dialect) -> None:
    model = network(*RESIDUAL)
    before = model.SerializeToString(deterministic=True)
    ranges = some_ranges(model)
    backwards = dict(reversed(ranges.items()))
    first, second = (emit(model, r, dialect).SerializeToString() for r in (ranges, backwards))
    assert first == second
    assert model.SerializeToString(deterministic=True) == before


def test_weights_that_a_float_node_also_reads_are_kept() -> None:
    model = network("c = Conv(x, w)", "y = Conv(c, w)")
    emitted = emit(model, some_ranges(model), CPU, keep=["c"])
    assert sources(emitted, "c")[1] == "w"
    assert node_of(emitted, "y").input[1] == "y_weight_dequantized"


@pytest.mark.parametrize("span", [(-np.inf, 1.0), (np.nan, np.nan), (1.0, -1.0)])
def test_unusable_ranges_are_refused_by_name(span: tuple[float, float]) -> None:
    model = network("y = Conv(x, w)")
    with pytest.raises(CxredgeError, match="range of 'x'"):
        emit(model, some_ranges(model, x=span), TENSORRT)


def test_a_missing_range_is_refused_by_name() -> None:
    model = network("y = Conv(x, w)")
    ranges = {name: span for name, span in some_ranges(model).items() if name != "x"}
    with pytest.raises(CxredgeError, match="no range for 'x'"):
        emit(model, ranges, CPU)


def test_weights_that_are_not_finite_are_refused_by_name() -> None:
    model = network("y = Conv(x, w)")
    set_initializer(model, "w", np.full((4, 4, 1, 1), np.nan, np.float32))
    with pytest.raises(CxredgeError, match="weight 'w'"):
        emit(model, some_ranges(model), CPU)
