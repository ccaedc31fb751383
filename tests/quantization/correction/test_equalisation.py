"""Equalisation: the network is equivalent, and the ranges of its channels differ less."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cxredge.quantization.correction.equalisation import (
    channel_factors,
    equalise,
    find_scaling_groups,
)
from cxredge.quantization.sessions import infer_graph, session_with_outputs

SPREAD = np.array([1.0, 0.1, 0.01, 0.5], np.float32)


def chain(activation: str, limit: float = 6.0, linear_user: bool = False) -> onnx.ModelProto:
    """Return image -> conv -> activation -> depthwise -> activation -> conv -> logits."""
    rng = np.random.default_rng(0)
    first = np.abs(rng.normal(size=(4, 1, 3, 3))).astype(np.float32) * SPREAD[:, None, None, None]
    arrays = {
        "w1": first,
        "b1": SPREAD,
        "w2": np.abs(rng.normal(size=(4, 1, 3, 3))).astype(np.float32),
        "b2": rng.normal(size=4).astype(np.float32),
        "w3": rng.normal(size=(3, 4, 1, 1)).astype(np.float32),
        "b3": rng.normal(size=3).astype(np.float32),
        "low": np.float32(0.0),
        "high": np.float32(limit),
        "scale": np.float32(1 / 255),
    }

    def activate(name: str, out: str) -> onnx.NodeProto:
        names = [name] if activation == "Relu" else [name, "low", "high"]
        return helper.make_node(activation, names, [out])

    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["x"]),
        helper.make_node("Conv", ["x", "w1", "b1"], ["y1"], name="first"),
        activate("y1", "a1"),
        helper.make_node("Conv", ["a1", "w2", "b2"], ["y2"], name="depthwise", group=4),
        activate("y2", "a2"),
        helper.make_node("Conv", ["a2", "w3", "b3"], ["y3"], name="last"),
        helper.make_node("ReduceMean", ["y3"], ["logits"], axes=[2, 3], keepdims=0),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])]
    if linear_user:
        outputs.append(helper.make_tensor_value_info("a1", TensorProto.FLOAT, None))
    graph = helper.make_graph(
        nodes, "chain",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 1, 12, 12])],
        outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (6, 12, 12), dtype=np.uint8)


def peaks(model: onnx.ModelProto, name: str, pixels: np.ndarray) -> np.ndarray:
    (values,) = session_with_outputs(model, [name]).run([name], {"image": pixels[:, None]})
    return np.abs(values).max(axis=(0, 2, 3))


@pytest.mark.parametrize(("activation", "limit"), [("Relu", 6.0), ("Clip", 1e3), ("Clip", 2.0)])
def test_the_network_is_equivalent(activation: str, limit: float, pixels: np.ndarray) -> None:
    model = chain(activation, limit)
    before = model.SerializeToString()
    equal = equalise(model, pixels, lambda _: None)
    assert model.SerializeToString() == before
    assert infer_graph(equal, pixels) == pytest.approx(infer_graph(model, pixels), rel=1e-4)
    was, now = peaks(model, "a1", pixels), peaks(equal, "a1", pixels)
    assert was.min() / was.max() < 0.05
    assert now.min() / now.max() > 0.3
    if activation == "Clip":
        assert now.max() <= limit


def test_a_channel_that_reached_the_limit_is_not_scaled() -> None:
    factors = channel_factors(np.array([6.0, 3.0, 0.0, 0.01], np.float32), 6.0, 1.0)
    assert factors.tolist() == [1.0, 2.0, 1.0, 32.0]
    halfway = channel_factors(np.array([6.0, 1.5], np.float32), 6.0, 0.5)
    assert halfway.tolist() == [1.0, 2.0]


def test_only_channels_with_one_reader_are_scaled() -> None:
    assert shown(chain("Clip")) == [
        (["first"], ["depthwise"], {"a1": 6.0}),
        (["depthwise"], ["last"], {"a2": 6.0}),
    ]
    assert shown(chain("Clip", linear_user=True)) == [(["depthwise"], ["last"], {"a2": 6.0})]


def shown(model: onnx.ModelProto) -> list[tuple[list[str], list[str], dict[str, float]]]:
    return [
        ([n.name for n in span.producers], [n.name for n in span.readers], span.limits)
        for span in find_scaling_groups(model)
    ]


def residual(**changed: np.ndarray) -> onnx.ModelProto:
    """Return image -> conv (bottleneck) -> [+ relu branch] -> conv -> logits."""
    rng = np.random.default_rng(1)
    arrays = {
        "w1": rng.normal(size=(4, 1, 3, 3)).astype(np.float32) * SPREAD[:, None, None, None],
        "w2": rng.normal(size=(8, 4, 1, 1)).astype(np.float32),
        "w3": rng.normal(size=(4, 8, 1, 1)).astype(np.float32) * SPREAD[:, None, None, None],
        "w4": rng.normal(size=(3, 4, 1, 1)).astype(np.float32),
        "scale": np.float32(1 / 255),
        **changed,
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["x"]),
        helper.make_node("Conv", ["x", "w1"], ["narrow"], name="first"),
        helper.make_node("Conv", ["narrow", "w2"], ["wide"], name="expand"),
        helper.make_node("Relu", ["wide"], ["active"]),
        helper.make_node("Conv", ["active", "w3"], ["branch"], name="project"),
        helper.make_node("Add", ["branch", "narrow"], ["sum"], name="add"),
        helper.make_node("Conv", ["sum", "w4"], ["last"], name="last"),
        helper.make_node("ReduceMean", ["last"], ["logits"], axes=[2, 3], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes, "residual",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 1, 12, 12])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_residual_branch_has_one_factor_per_channel(pixels: np.ndarray) -> None:
    model = residual()
    spans = {tuple(makers): readers for makers, readers, _ in shown(model)}
    assert spans == {("first", "project"): ["expand", "last"], ("expand",): ["project"]}
    equal = equalise(model, pixels, lambda _: None)
    assert infer_graph(equal, pixels) == pytest.approx(infer_graph(model, pixels), rel=1e-4)
    for name in ("narrow", "sum"):
        was, now = peaks(model, name, pixels), peaks(equal, name, pixels)
        assert now.min() / now.max() > 3 * was.min() / was.max()


def test_weights_shared_by_two_convolutions_are_not_changed(pixels: np.ndarray) -> None:
    shared = np.random.default_rng(3).normal(size=(8, 4, 1, 1)).astype(np.float32)
    model = residual(w2=shared)
    model.graph.node[7].input[1] = "w2"
    model.graph.node[8].input[0] = "last"
    del model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 8])
    )
    assert all("expand" not in (*makers, *readers) for makers, readers, _ in shown(model))
    equal = equalise(model, pixels, lambda _: None)
    assert infer_graph(equal, pixels) == pytest.approx(infer_graph(model, pixels), rel=1e-4)
