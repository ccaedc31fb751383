"""Processors on which INT8 accumulation may saturate; a session there does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from cxredge.backends import onnxruntime
from cxredge.telemetry.linux import Machine, may_saturate, read_machine


@pytest.mark.parametrize(
    ("architecture", "flags", "saturates"),
    [
        ("x86_64", ("avx2",), True),
        ("AMD64", (), True),
        ("x86_64", ("avx2", "avx512f", "avx512_vnni"), False),
        ("x86_64", ("avx2", "avx_vnni"), False),
        ("aarch64", ("asimd",), False),
        ("arm64", (), False),
    ],
)
def test_processors_that_accumulate_in_16_bits(
    architecture: str, flags: tuple[str, ...], saturates: bool
) -> None:
    machine: Machine = replace(read_machine(), architecture=architecture, cpu_flags=flags)
    assert may_saturate(machine) is saturates


@pytest.fixture
def large_sums(tmp_path: Path) -> Path:
    """A classifier that sums 8 channels of 255 times 127; two of them overflow 16 bits."""
    initializers = [
        numpy_helper.from_array(np.float32(1), "scale"),
        numpy_helper.from_array(np.uint8(0), "zero"),
        numpy_helper.from_array(np.full((8, 1, 1, 1), 1, np.float32), "spread"),
        numpy_helper.from_array(np.full((2, 8, 1, 1), 127, np.int8), "weight"),
        numpy_helper.from_array(np.int8(0), "weight_zero"),
        numpy_helper.from_array(np.float32(255 * 127 * 8 / 200), "sum_scale"),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["float", "spread"], ["channels"]),
        helper.make_node("QuantizeLinear", ["channels", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["weight", "scale", "weight_zero"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["sums"]),
        helper.make_node("QuantizeLinear", ["sums", "sum_scale", "zero"], ["q_sums"]),
        helper.make_node("DequantizeLinear", ["q_sums", "sum_scale", "zero"], ["y"]),
        helper.make_node("GlobalAveragePool", ["y"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["logits"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 1, 16, 16])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph(nodes, "sums", [image], [logits], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "sums.onnx")
    return tmp_path / "sums.onnx"


def test_int8_accumulation_does_not_saturate(large_sums: Path) -> None:
    white = np.full((1, 16, 16), 255, np.uint8)
    with onnxruntime.OnnxRuntimeSession(large_sums) as session:
        assert session.infer(white)[0] == pytest.approx(255 * 127 * 8)


@pytest.mark.parametrize("saturates", [True, False])
def test_exact_sums_are_requested_only_where_they_are_not_the_default(
    saturates: bool, large_sums: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere the option would cost time for nothing: it selects the slower kernels."""
    requested: list[tuple[str, str]] = []

    class Options(ort.SessionOptions):
        def add_session_config_entry(self, key: str, value: str) -> None:
            requested.append((key, value))
            super().add_session_config_entry(key, value)

    monkeypatch.setattr(ort, "SessionOptions", Options)
    monkeypatch.setattr(onnxruntime, "may_saturate_here", lambda: saturates)
    with onnxruntime.OnnxRuntimeSession(large_sums):
        assert (onnxruntime.EXACT_ACCUMULATION in requested) is saturates
