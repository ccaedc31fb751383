"""The FP16 form of a graph, judged by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from cxredge.backends import open_session
from cxredge.backends.tensorrt.half import to_half
from cxredge.data.manifest import Manifest, load_pixels
from cxredge.errors import ArtifactError
from cxredge.vocabulary import Split


def test_it_computes_almost_the_same(fp32: Path, manifest: Manifest, tmp_path: Path) -> None:
    half = to_half(onnx.load(fp32))
    onnx.checker.check_model(half, full_check=True)
    onnx.save(half, tmp_path / "half.onnx")
    pixels = load_pixels(manifest.of(Split.TEST), 64)
    with open_session(fp32) as one, open_session(tmp_path / "half.onnx") as other:
        expected, found = one.infer(pixels), other.infer(pixels)
    difference = np.abs(found - expected).max()
    assert 0 < difference < 0.05 * np.abs(expected).max()
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))


def test_nothing_stays_in_fp32_but_the_output(fp32: Path) -> None:
    half = onnx.shape_inference.infer_shapes(to_half(onnx.load(fp32)), strict_mode=True)
    kinds = {value.name: value.type.tensor_type.elem_type for value in half.graph.value_info}
    assert set(kinds.values()) == {TensorProto.FLOAT16}
    assert half.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert not [i for i in half.graph.initializer if i.data_type == TensorProto.FLOAT]


def test_the_given_model_is_not_touched(fp32: Path) -> None:
    model = onnx.load(fp32)
    before = model.SerializeToString()
    to_half(model)
    assert model.SerializeToString() == before


def test_weights_that_fp16_cannot_hold_are_named(fp32: Path) -> None:
    model = onnx.load(fp32)
    (weights,) = [i for i in model.graph.initializer if i.name == "w2"]
    values = onnx.numpy_helper.to_array(weights).copy()
    values[0] = 1e5
    weights.CopyFrom(onnx.numpy_helper.from_array(values, "w2"))
    with pytest.raises(ArtifactError, match="'w2' reach 100000"):
        to_half(model)


def test_a_quantized_file_is_refused(int8: Path) -> None:
    with pytest.raises(ArtifactError, match="is quantized"):
        to_half(onnx.load(int8))
