"""The passes remove nodes, keep the results, and do not touch what they must not."""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from cxredge.export.simplify import fold_constants, fold_pads, lean_graph

torch = pytest.importorskip("torch", reason="needs the train extra")

from torch import Tensor, nn  # noqa: E402

from cxredge.models import build_model  # noqa: E402
from cxredge.models.keras_geometry import match_keras_geometry  # noqa: E402
from tests.keras_files import fill_by_formula, formula_images  # noqa: E402

pytestmark = pytest.mark.train

Array = NDArray[Any]


def exported(model: nn.Module, image: Tensor) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        path = Path(folder) / "model.onnx"
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(),
            (image,),
            path,
            input_names=["image"],
            output_names=["result"],
            dynamic_axes={"image": {0: "batch"}, "result": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
        return onnx.load(path)


def run(model: onnx.ModelProto, image: Array) -> Array:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    result: Array = session.run(None, {"image": image})[0]
    return result


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("size", [(224, 224), (131, 97)])
def test_nasnet_is_simplified_and_equivalent(size: tuple[int, int]) -> None:
    model = build_model("nasnet_mobile", 14).eval()
    fill_by_formula(model)
    plain = exported(model, formula_images(1, *size))
    lean = lean_graph(plain)
    images = formula_images(2, *size)
    expected = model(images).detach().numpy()
    np.testing.assert_allclose(run(plain, images.numpy()), expected, atol=1e-4)
    np.testing.assert_allclose(run(lean, images.numpy()), expected, atol=1e-4)
    # Four pads stay, before a MaxPool over values of either sign, one per reduction cell.
    assert operators(lean) == {
        "Conv": 352,
        "Relu": 132,
        "Add": 80,
        "AveragePool": 32,
        "Concat": 16,
        "MaxPool": 4,
        "Pad": 4,
        "ReduceMean": 1,
        "Gemm": 1,
    }


def test_mobilenet_has_no_pads_left() -> None:
    model = build_model("mobilenet_v1", 14).eval()
    match_keras_geometry(model.backbone, "mobilenet_v1")
    fill_by_formula(model)
    lean = lean_graph(exported(model, formula_images(1, 96, 96)))
    assert set(operators(lean)) == {"Conv", "Clip", "GlobalAveragePool", "Flatten", "Gemm"}
    images = formula_images(2, 96, 96)
    np.testing.assert_allclose(run(lean, images.numpy()), model(images).detach().numpy(), atol=1e-4)


class Padded(nn.Module):
    def __init__(self, *, rectify: bool, pool: nn.Module, value: float = 0.0) -> None:
        super().__init__()
        self.rectify, self.pool, self.value = rectify, pool, value

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x) if self.rectify else x - 2.0
        padded: Tensor = self.pool(nn.functional.pad(x, (0, 1, 1, 1), value=self.value))
        return padded


@pytest.mark.parametrize(
    ("module", "pads_left"),
    [
        (Padded(rectify=True, pool=nn.MaxPool2d(3, 2)), 0),
        (Padded(rectify=False, pool=nn.MaxPool2d(3, 2)), 1),
        (Padded(rectify=True, pool=nn.MaxPool2d(3, 2, ceil_mode=True)), 1),
        (Padded(rectify=False, pool=nn.AvgPool2d(3, 2)), 0),
        (Padded(rectify=False, pool=nn.AvgPool2d(3, 2, padding=1)), 0),
        (Padded(rectify=False, pool=nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)), 1),
        (Padded(rectify=False, pool=nn.Conv2d(2, 3, 3, stride=2, padding=1)), 0),
        (Padded(rectify=False, pool=nn.Conv2d(2, 3, 3, dilation=2)), 0),
        (Padded(rectify=False, pool=nn.Conv2d(2, 3, 3), value=1.0), 1),
        (Padded(rectify=True, pool=nn.Sigmoid()), 1),
    ],
)
def test_pads_are_removed_only_if_the_result_stays(module: nn.Module, pads_left: int) -> None:
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 2, 9, 8))).float()
    plain = exported(module, image)
    lean = lean_graph(plain)
    assert operators(lean)["Pad"] == pads_left
    np.testing.assert_allclose(run(lean, image.numpy()), run(plain, image.numpy()), atol=1e-5)


def graph_of(*nodes: onnx.NodeProto, **constants: Array) -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        list(nodes),
        "test",
        [value("image", TensorProto.FLOAT, ["n", 1, 5, 5])],
        [value("result", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_pad_with_axes_and_two_readers() -> None:
    model = graph_of(
        helper.make_node("Pad", ["image", "amounts", "", "axes"], ["padded"]),
        helper.make_node("Conv", ["padded", "kernel"], ["a"], auto_pad="VALID"),
        helper.make_node("AveragePool", ["padded"], ["b"], kernel_shape=[3, 3]),
        helper.make_node("Add", ["a", "b"], ["result"]),
        amounts=np.array([1, 0, 0, 2]),
        axes=np.array([-1, 2]),
        kernel=np.ones((1, 1, 3, 3), np.float32),
    )
    image = np.random.default_rng(0).normal(size=(1, 1, 5, 5)).astype(np.float32)
    folded = fold_pads(model)
    assert operators(model)["Pad"] == 1
    assert operators(folded)["Pad"] == 0
    np.testing.assert_allclose(run(folded, image), run(model, image), atol=1e-5)


def test_pad_of_channels_and_crop_stay() -> None:
    for amounts in ([0, 1, 0, 0, 0, 0, 0, 0], [0, 0, -1, 0, 0, 0, 1, 0]):
        model = graph_of(
            helper.make_node("Pad", ["image", "amounts"], ["padded"]),
            helper.make_node("AveragePool", ["padded"], ["result"], kernel_shape=[3, 3]),
            amounts=np.array(amounts),
        )
        assert operators(fold_pads(model))["Pad"] == 1


def test_result_that_is_a_pad_stays() -> None:
    model = graph_of(
        helper.make_node("Pad", ["image", "amounts"], ["result"]),
        helper.make_node("AveragePool", ["result"], ["other"], kernel_shape=[3, 3]),
        amounts=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    )
    assert operators(fold_pads(model))["Pad"] == 1


def test_constants_are_folded_and_quantized_weights_are_not() -> None:
    model = graph_of(
        helper.make_node("Mul", ["a", "a"], ["square"]),
        helper.make_node("DequantizeLinear", ["q", "a"], ["b"]),
        helper.make_node("Add", ["image", "square"], ["sum"]),
        helper.make_node("Add", ["sum", "b"], ["result"]),
        a=np.array(3.0, np.float32),
        q=np.array(2, np.int8),
    )
    image = np.zeros((1, 1, 5, 5), np.float32)
    folded = fold_constants(model)
    assert operators(folded) == {"Add": 2, "DequantizeLinear": 1}
    np.testing.assert_allclose(run(folded, image), run(model, image))
