"""Rounding: the algebra on layers with a known optimum."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from cxredge.quantization.correction.moments import layer_moments
from cxredge.quantization.correction.rounding import (
    _inverse_factor,
    best_scales,
    least_squares_weights,
    min_max_scales,
    round_compensated,
    round_nearest,
)

CONVOLUTIONS = [
    # groups, channels, outputs, kernel, stride, pads, dilation
    (1, 8, 6, 3, 2, [0, 0, 1, 1], 1),
    (4, 8, 12, 3, 1, [1, 1, 1, 1], 1),
    (1, 16, 5, 1, 1, [0, 0, 0, 0], 1),
    (8, 8, 8, 5, 2, [2, 2, 2, 2], 1),
    (2, 4, 4, 3, 1, [2, 2, 2, 2], 2),
]


@pytest.mark.parametrize("shape", CONVOLUTIONS)
def test_moments_recover_the_layer_that_produced_the_output(shape: tuple) -> None:
    groups, channels, outputs, kernel, stride, pads, dilation = shape
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, channels, 13, 14)).astype(np.float32)
    weight = rng.normal(size=(outputs, channels // groups, kernel, kernel)).astype(np.float32)
    bias = rng.normal(size=outputs).astype(np.float32)
    node = helper.make_node(
        "Conv", ["x", "w", "b"], ["y"],
        group=groups, strides=[stride] * 2, pads=pads, dilations=[dilation] * 2,
    )  # fmt: skip
    y = run(node, x, weight, bias)
    moments = layer_moments(node, x, y, (kernel, kernel), positions=40)
    found = least_squares_weights(
        np.zeros((groups, outputs // groups, weight[0].size)), moments, pull=1e-9
    )
    assert found.reshape(weight.shape) == pytest.approx(weight, abs=1e-4)
    explained = (found @ moments.mean_in[..., None])[..., 0]
    assert (moments.mean_out - explained).ravel() == pytest.approx(bias, abs=1e-4)


def test_moments_of_almost_constant_inputs() -> None:
    rng = np.random.default_rng(0)
    x = (1000 + 1e-3 * rng.normal(size=(20, 30, 4, 4))).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    moments = layer_moments(node, x, x[:, :2], (1, 1), positions=16)
    assert np.linalg.eigvalsh(moments.inputs[0]).min() > 0
    variance = x.astype(np.float64).var(axis=(0, 2, 3))
    assert np.diagonal(moments.inputs[0]) == pytest.approx(variance, rel=1e-2)
    assert moments.mean_in[0] == pytest.approx(x.mean(axis=(0, 2, 3), dtype=np.float64))


def run(node: onnx.NodeProto, x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    graph = helper.make_graph(
        [node], "one",
        [helper.make_tensor_value_info("x", 1, x.shape)],
        [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


@pytest.fixture
def layer() -> tuple[np.ndarray, np.ndarray]:
    """Weights (2, 3, 40) and the covariance of strongly correlated inputs (2, 40, 40)."""
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(2, 40, 5)) @ rng.normal(size=(2, 5, 500))
    inputs += 0.1 * rng.normal(size=inputs.shape)
    return rng.normal(size=(2, 3, 40)), inputs @ inputs.swapaxes(1, 2) / 500


def cost(errors: np.ndarray, inputs: np.ndarray) -> float:
    return float(np.einsum("god,gde,goe->", errors, inputs, errors))


def test_compensated_rounding_changes_the_output_less_than_rounding_to_nearest(
    layer: tuple,
) -> None:
    weights, inputs = layer
    scales = min_max_scales(weights)
    chosen = round_compensated(weights, scales, inputs)
    steps = chosen / scales[..., None]
    assert np.abs(steps - np.rint(steps)).max() < 1e-9
    assert np.abs(steps).max() < 127.5
    plain = round_nearest(weights, scales)
    assert cost(chosen - weights, inputs) < 0.5 * cost(plain - weights, inputs)


def test_the_block_size_does_not_change_the_result(layer: tuple, monkeypatch) -> None:
    weights, inputs = layer
    whole = round_compensated(weights, min_max_scales(weights), inputs)
    monkeypatch.setattr("cxredge.quantization.correction.rounding._BLOCK", 7)
    assert round_compensated(weights, min_max_scales(weights), inputs) == pytest.approx(whole)


def test_a_smaller_scale_is_chosen_if_its_error_is_smaller() -> None:
    weights = np.full((1, 2, 100), 0.01)
    weights[0, :, ::2] *= -1.3
    weights[0, 0, 0] = 0.0103 * 127
    importance = np.ones((1, 100))
    importance[0, 0] = 1e-12  # Clipping the outlier costs nothing.
    scales, full = best_scales(weights, importance), min_max_scales(weights)
    assert scales[0, 0] < 0.7 * full[0, 0]
    error = ((round_nearest(weights, scales) - weights) ** 2 * importance).sum()
    assert error <= ((round_nearest(weights, full) - weights) ** 2 * importance).sum()


def test_the_scale_of_an_output_without_weights_does_not_overflow_biases() -> None:
    scales = min_max_scales(np.array([[[1.27, -1.0], [0.0, 0.0]]]))
    assert scales[0] == pytest.approx([0.01, 1e-7])


def test_the_factor_is_that_of_the_inverse(layer: tuple) -> None:
    _, inputs = layer
    system = inputs + 0.1 * np.eye(40)
    factor = _inverse_factor(system)
    assert np.abs(np.tril(factor, -1)).max() < 1e-9
    assert factor.swapaxes(1, 2) @ factor == pytest.approx(np.linalg.inv(system), abs=1e-8)


def test_constant_inputs_are_supported() -> None:
    weights = np.random.default_rng(3).normal(size=(1, 4, 30))
    inputs = np.zeros((1, 30, 30))
    inputs[0, :3, :3] = np.ones((3, 3)) * 1e8
    found = round_compensated(weights, min_max_scales(weights), inputs)
    assert np.isfinite(found).all()
    assert found == pytest.approx(weights, abs=0.5)


def test_weights_are_kept_without_any_variance() -> None:
    weights = np.array([[[0.5, -0.25, 0.125]]])
    nothing = np.zeros((1, 3, 3))
    assert round_compensated(weights, min_max_scales(weights), nothing) == pytest.approx(
        weights, abs=0.003
    )
