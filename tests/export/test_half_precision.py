from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cxredge.artifacts.card import read_artifact, read_card
from cxredge.artifacts.model_card import ExportedCard, HalfPrecisionCard
from cxredge.backends.batched import infer_file
from cxredge.data.loading import load_pixels
from cxredge.data.manifest import Manifest
from cxredge.errors import ArtifactError
from cxredge.export.half_precision import to_fp16, write_fp16
from cxredge.vocabulary import Precision, Split
from tests.tensorrt_builder import built_bytes


@pytest.fixture(scope="module")
def fp32(model: Path) -> onnx.ModelProto:
    return onnx.load(model / "model.onnx")


def test_all_but_input_and_output_is_fp16(fp32: onnx.ModelProto) -> None:
    graph = onnx.shape_inference.infer_shapes(to_fp16(fp32), strict_mode=True).graph
    assert graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    assert set(kinds.values()) == {TensorProto.FLOAT16}
    assert len(kinds) == len(graph.node) - 1
    assert {tensor.data_type for tensor in graph.initializer} == {TensorProto.FLOAT16}


def test_logits_are_close_and_the_input_is_not_changed(
    model: Path, manifest: Manifest, tmp_path: Path
) -> None:
    before = (model / "model.onnx").read_bytes()
    card = write_fp16(read_artifact(model, ExportedCard), tmp_path / "fp16")
    assert (model / "model.onnx").read_bytes() == before
    assert read_card(tmp_path / "fp16", HalfPrecisionCard) == card
    assert card.config.precision is Precision.FP16
    pixels = load_pixels(manifest.of(Split.TEST), 64)
    expected = infer_file(model / "model.onnx", pixels)
    found = infer_file(tmp_path / "fp16" / "model.onnx", pixels)
    assert found.dtype == np.float32
    error = np.abs(found - expected).max()
    assert 0 < error < 0.02 * np.abs(expected).max()
    size = (tmp_path / "fp16" / "model.onnx").stat().st_size
    assert size < 0.8 * len(before)


def test_same_model_same_bytes(fp32: onnx.ModelProto) -> None:
    assert to_fp16(fp32).SerializeToString() == to_fp16(fp32).SerializeToString()


def test_values_beyond_fp16_are_named(fp32: onnx.ModelProto) -> None:
    model = onnx.ModelProto.FromString(fp32.SerializeToString())
    tensor = next(t for t in model.graph.initializer if t.name == "b2")
    values = numpy_helper.to_array(tensor).copy()
    values[0] = -70000
    tensor.CopyFrom(numpy_helper.from_array(values, "b2"))
    with pytest.raises(
        ArtifactError, match=r"'b2' has values up to 7e\+04; the largest FP16 number is 65504"
    ):
        to_fp16(model)


def test_constants_in_nodes_are_rounded_too() -> None:
    half = helper.make_node(
        "Constant", [], ["half"], value=numpy_helper.from_array(np.float32([0.1]))
    )
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        half,
        helper.make_node("Mul", ["x", "half"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4])],
    )
    model = to_fp16(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    constant = numpy_helper.to_array(model.graph.node[1].attribute[0].t)
    assert constant.dtype == np.float16
    onnx.shape_inference.infer_shapes(model, strict_mode=True)


def test_a_quantized_graph_is_refused(fp32: onnx.ModelProto) -> None:
    model = onnx.ModelProto.FromString(fp32.SerializeToString())
    model.graph.node[3].op_type = "QuantizeLinear"
    with pytest.raises(ArtifactError, match=r"'conv1' \(QuantizeLinear\) is not supported in FP16"):
        to_fp16(model)


def test_tensorrt_builds_it(fp32: onnx.ModelProto) -> None:
    pytest.importorskip("tensorrt_rtx", reason="needs the rtx extra")
    size, said = built_bytes(to_fp16(fp32))
    assert said == []
    assert size > 1000
