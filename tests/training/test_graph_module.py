"""Every operator of a graph that is fine-tuned computes what ONNX Runtime computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

torch = pytest.importorskip("torch", reason="needs the train extra")

from cxredge.training.graph_module import _OPERATORS, GraphModule  # noqa: E402

pytestmark = pytest.mark.train

RANDOM = np.random.default_rng(0)
SHAPE = (2, 4, 9, 9)
KERNEL = RANDOM.normal(size=(4, 1, 3, 3)).astype(np.float32)
OTHER = RANDOM.normal(size=SHAPE).astype(np.float32)
PADDED = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}
LIMITS = (np.float32(0), np.float32(0.5))
SCALE, PER_CHANNEL = np.float32(0.05), np.linspace(0.02, 0.08, 4, dtype=np.float32)

CASES: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [
    ("Add", {}, (OTHER,)),
    ("Mul", {}, (OTHER,)),
    ("Concat", {"axis": 1}, (OTHER,)),
    ("Conv", {"group": 4, "pads": [1, 1, 1, 1]}, (KERNEL,)),
    ("Conv", {"group": 4, "pads": [0, 0, 1, 1], "strides": [2, 2]}, (KERNEL, KERNEL[:, 0, 0, 0])),
    ("Conv", {"group": 4, "dilations": [2, 2]}, (KERNEL,)),
    ("MaxPool", PADDED, ()),
    ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, ()),
    ("AveragePool", PADDED, ()),
    ("AveragePool", {**PADDED, "count_include_pad": 1}, ()),
    ("GlobalAveragePool", {}, ()),
    ("ReduceMean", {"axes": [2, 3], "keepdims": 0}, ()),
    ("Clip", {}, LIMITS),
    ("Flatten", {}, ()),
    ("HardSigmoid", {}, ()),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, ()),
    ("HardSwish", {}, ()),
    ("Relu", {}, ()),
    ("Sigmoid", {}, ()),
]


def run(model: onnx.ModelProto, values: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found: np.ndarray = session.run(None, {"x": values})[0]
    return found


def graph(nodes: list[onnx.NodeProto], shape: tuple[int, ...], constants: dict[str, Any]) -> Any:
    made = helper.make_graph(
        nodes,
        "operators",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(("operator", "attributes", "more"), CASES, ids=lambda v: str(v)[:40])
def test_an_operator_equals_that_of_onnx_runtime(
    operator: str, attributes: dict[str, Any], more: tuple[Any, ...]
) -> None:
    constants = {f"c{number}": value for number, value in enumerate(more)}
    node = helper.make_node(operator, ["x", *constants], ["y"], **attributes)
    model = graph([node], SHAPE, constants)
    values = RANDOM.normal(size=SHAPE).astype(np.float32)
    with torch.no_grad():
        found = GraphModule(model)(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(found, run(model, values), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("scale", "axis"), [(SCALE, 1), (PER_CHANNEL, 1)])
@pytest.mark.parametrize("zero", [np.int8(0), np.uint8(120)])
def test_quantized_values_equal_those_of_onnx_runtime(scale: Any, axis: int, zero: Any) -> None:
    zeros = np.full(np.shape(scale), zero, zero.dtype)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], axis=axis),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], axis=axis),
    ]
    model = graph(nodes, SHAPE, {"scale": scale, "zero": zeros})
    values = (4 * RANDOM.normal(size=SHAPE)).astype(np.float32)
    with torch.no_grad():
        found = GraphModule(model)(torch.from_numpy(values)).numpy()
    expected = run(model, values)
    # Halfway between two steps, rounding may differ.
    assert np.mean(np.isclose(found, expected, atol=1e-5)) > 0.999
    assert np.abs(found - expected).max() <= np.max(scale) * 1.001


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_head_equals_that_of_onnx_runtime(transposed: int) -> None:
    weights = RANDOM.normal(size=(3, 5) if transposed else (5, 3)).astype(np.float32)
    bias = RANDOM.normal(size=3).astype(np.float32)
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=transposed)
    model = graph([node], (2, 5), {"w": weights, "b": bias})
    values = RANDOM.normal(size=(2, 5)).astype(np.float32)
    module = GraphModule(model)
    with torch.no_grad():
        found = module(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(found, run(model, values), rtol=1e-5, atol=1e-5)
    assert len(list(module.parameters())) == 2
    assert module.write_to(model) == model


def test_every_operator_has_a_case() -> None:
    covered = {operator for operator, _, _ in CASES}
    # A cast comes before all else, and the whole graph is compared in test_quantization_aware.
    assert _OPERATORS.keys() - covered == {"Cast", "DequantizeLinear", "QuantizeLinear", "Gemm"}
