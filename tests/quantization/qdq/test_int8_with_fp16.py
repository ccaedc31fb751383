"""The TensorRT dialect with FP16: the same logits, and no constant outside FP16's range."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from cxredge.data.images import GreyImage
from cxredge.data.loading import load_pixels
from cxredge.data.manifest import Manifest
from cxredge.errors import CxredgeError
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.qdq.int8_with_fp16 import to_int8_with_fp16
from cxredge.quantization.qdq.legality import check_legality
from cxredge.quantization.ranges.measure import measure_ranges
from cxredge.vocabulary import Dialect, Split
from tests.quantization.small_graphs import (
    initializers,
    network,
    set_initializer,
    some_ranges,
)


@pytest.fixture(scope="module")
def pixels(manifest: Manifest) -> GreyImage:
    return load_pixels(manifest.of(Split.TRAIN)[:8], 64)


@pytest.fixture(scope="module")
def emitted(model: Path, pixels: GreyImage) -> onnx.ModelProto:
    graph = onnx.load(model / "model.onnx")
    return emit(graph, measure_ranges(graph, pixels, lambda _: None), Dialect.TENSORRT)


def run(model: onnx.ModelProto, pixels: GreyImage) -> np.ndarray:
    session = ort.InferenceSession(
        model.SerializeToString(),
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["WeightBiasQuantization"],
    )
    (logits,) = session.run(None, {"image": pixels[:, None]})
    return np.asarray(logits)


def test_logits_equal_those_of_the_fp32_graph(emitted: onnx.ModelProto, pixels: GreyImage) -> None:
    expected, found = run(emitted, pixels), run(to_int8_with_fp16(emitted), pixels)
    assert found.dtype == np.float32
    # A value that FP16 rounds to the next of INT8's steps moves a logit by about 2%.
    difference, largest = np.abs(found - expected), np.abs(expected).max()
    assert difference.mean() < 0.015 * largest
    assert difference.max() < 0.04 * largest
    assert not np.array_equal(found, expected)


def test_all_floats_inside_are_fp16(emitted: onnx.ModelProto) -> None:
    typed = to_int8_with_fp16(emitted)
    kinds = Counter(values.dtype.name for values in initializers(typed).values())
    assert set(kinds) <= {"float16", "int8", "int64"}
    inner = onnx.shape_inference.infer_shapes(typed, strict_mode=True).graph.value_info
    assert onnx.TensorProto.FLOAT not in {v.type.tensor_type.elem_type for v in inner}
    assert typed.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert typed.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert [n.name for n in typed.graph.node if n.op_type == "Conv"] == [
        n.name for n in emitted.graph.node if n.op_type == "Conv"
    ]


def test_it_is_legal_from_opset_19_on(emitted: onnx.ModelProto) -> None:
    typed = to_int8_with_fp16(emitted)
    assert typed.opset_import[0].version == 19
    assert check_legality(typed, Dialect.TENSORRT) == []
    typed.opset_import[0].version = 18
    assert [v.node for v in check_legality(typed, Dialect.TENSORRT)] == ["graph"]


def test_the_input_graph_is_not_changed(emitted: onnx.ModelProto) -> None:
    before = emitted.SerializeToString(deterministic=True)
    assert (
        to_int8_with_fp16(emitted).SerializeToString()
        == to_int8_with_fp16(emitted).SerializeToString()
    )
    assert emitted.SerializeToString(deterministic=True) == before


def test_an_axis_that_became_an_input_is_moved() -> None:
    model = network("c = Conv(x, w)", "y = ReduceMean<axes=[2,3],keepdims=0>(c)")
    typed = to_int8_with_fp16(emit(model, some_ranges(model), Dialect.TENSORRT))
    reduce = next(node for node in typed.graph.node if node.op_type == "ReduceMean")
    assert len(reduce.input) == 2


def test_scales_are_rounded_up_so_that_nothing_more_is_clamped() -> None:
    model = network("y = Conv(x, w)")
    # The second is below FP16's range, as for a channel whose weights training made zero.
    scales = np.array([0.1, 1e-9, 3.0, 0.0123], np.float32)
    typed = emit(model, some_ranges(model), Dialect.TENSORRT, weight_scales={"w": scales})
    half = initializers(to_int8_with_fp16(typed))["y_weight_scale"].astype(np.float32)
    assert (half >= scales).all()
    assert half[[0, 2, 3]] == pytest.approx(scales[[0, 2, 3]], rel=1e-3)


@pytest.mark.parametrize(
    ("ranges", "weight", "named"),
    [
        ({"x": (0.0, 1e-7)}, 1.0, "'x'"),
        ({"x": (0.0, 70000.0)}, 1.0, "'x'"),
        ({}, 1e-7, "'w'"),
        ({}, 1e6, "'w'"),
    ],
)
def test_constants_outside_fp16_are_refused_by_name(
    ranges: dict[str, tuple[float, float]], weight: float, named: str
) -> None:
    model = network("y = Conv(x, w)")
    set_initializer(model, "w", np.full((4, 4, 1, 1), weight, np.float32))
    emitted = emit(model, some_ranges(model, **ranges), Dialect.TENSORRT)
    with pytest.raises(CxredgeError, match=named):
        to_int8_with_fp16(emitted)


def test_an_operator_without_an_fp16_form_is_refused() -> None:
    # A constant of shape stays FP32: the product then has one input of each type.
    model = network("n = Shape(x)", "z = ConstantOfShape(n)", "t = Tanh(x)", "y = Mul(z, t)")
    with pytest.raises(CxredgeError, match="cannot be typed FP16"):
        to_int8_with_fp16(emit(model, some_ranges(model), Dialect.TENSORRT))
