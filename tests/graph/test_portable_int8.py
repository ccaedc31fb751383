"""INT8 graphs that compute with default options what cxredge's sessions compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from cxredge.backends.onnxruntime import DISABLED_OPTIMIZERS, exact_options
from cxredge.errors import CxredgeError
from cxredge.graph.model_file import read_model
from cxredge.graph.portable_int8 import (
    holds_int8,
    portable_int8,
    with_guarded_floats,
    with_unsigned_weights,
)
from cxredge.quantization.qdq.emit import emit
from cxredge.vocabulary import Dialect


@pytest.fixture(scope="module")
def int8(built: Path) -> onnx.ModelProto:
    return read_model(built / "model-int8.onnx")


def run(
    model: onnx.ModelProto, options: ort.SessionOptions, pixels: np.ndarray
) -> list[np.ndarray]:
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"image": pixels})


def test_default_options_compute_what_exact_ones_compute(int8: onnx.ModelProto) -> None:
    """Bright images reach the largest products; without VNNI, signed weights saturate on them."""
    pixels = np.random.default_rng(0).integers(128, 256, (8, 1, 64, 64), np.uint8)
    expected = run(int8, exact_options(), pixels)
    found = run(with_unsigned_weights(int8), ort.SessionOptions(), pixels)
    assert all(map(np.array_equal, found, expected))


def test_weights_move_by_half_the_range(int8: onnx.ModelProto) -> None:
    changed = with_unsigned_weights(int8)
    assert holds_int8(int8)
    assert not holds_int8(changed)
    assert len(changed.graph.node) == len(int8.graph.node)
    after = {tensor.name: numpy_helper.to_array(tensor) for tensor in changed.graph.initializer}
    before = {tensor.name: numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    weights = [name for name in after if name.endswith("weight_quantized_unsigned")]
    assert weights
    for name in weights:
        signed = before[name.removesuffix("_unsigned")].astype(int)
        assert np.array_equal(after[name].astype(int) - 128, signed)
        assert set(after[name.replace("quantized", "zero_point")]) == {128}


def test_float_graphs_stay_as_they_are(built: Path) -> None:
    fp32 = read_model(built / "model-fp32.onnx")
    assert not holds_int8(fp32)
    assert with_unsigned_weights(fp32) == fp32


def test_graphs_for_tensorrt_are_refused(model: Path) -> None:
    fp32 = read_model(model / "model.onnx")
    names = {name for node in fp32.graph.node for name in (*node.input, *node.output)}
    ranges = dict.fromkeys(names, (-4.0, 4.0))
    with pytest.raises(CxredgeError, match="signed activations"):
        with_unsigned_weights(emit(fp32, ranges, Dialect.TENSORRT))


def test_a_weight_that_two_layers_read_is_moved_once(int8: onnx.ModelProto) -> None:
    shared = onnx.ModelProto()
    shared.CopyFrom(int8)
    reader = next(
        node
        for node in shared.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0].endswith("weight_quantized")
    )
    twin = shared.graph.node.add()
    twin.CopyFrom(reader)
    twin.name, twin.output[0] = "twin", "twin"
    shared.graph.output.append(helper.make_tensor_value_info("twin", TensorProto.FLOAT, [None] * 4))
    names = [tensor.name for tensor in with_unsigned_weights(shared).graph.initializer]
    assert len(names) == len(set(names))


def test_layers_in_float_stay_in_float(model: Path) -> None:
    """ONNX Runtime would quantize the weights of the layer between integers with one scale."""
    fp32 = read_model(model / "model.onnx")
    names = {name for node in fp32.graph.node for name in (*node.input, *node.output)}
    mixed = emit(fp32, dict.fromkeys(names, (-6.0, 6.0)), Dialect.CPU, keep=["pointwise"])
    guarded = with_guarded_floats(mixed)
    assert [node.op_type for node in guarded.graph.node].count("Sum") == 1
    pixels = np.random.default_rng(0).integers(0, 256, (4, 1, 64, 64), np.uint8)
    session = ort.InferenceSession(
        mixed.SerializeToString(),
        exact_options(),
        providers=["CPUExecutionProvider"],
        disabled_optimizers=list(DISABLED_OPTIMIZERS),
    )
    expected = session.run(None, {"image": pixels})
    found = run(portable_int8(mixed), ort.SessionOptions(), pixels)
    assert all(map(np.array_equal, found, expected))
