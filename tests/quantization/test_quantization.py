"""Ranges, corrections and emitters, on a small residual network."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from cxredge.data.images import GreyImage
from cxredge.data.loading import load_pixels
from cxredge.data.manifest import Manifest
from cxredge.quantization.correction.reconstruction import reconstruct
from cxredge.quantization.fp32_comparison import logit_error
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.ranges.measure import measure_ranges
from cxredge.quantization.ranges.statistics import Ranges
from cxredge.quantization.sessions import infer_graph, session_with_outputs
from cxredge.vocabulary import Dialect, Split


@pytest.fixture(scope="module")
def graph(model: Path) -> onnx.ModelProto:
    return onnx.load(model / "model.onnx")


@pytest.fixture(scope="module")
def pixels(manifest: Manifest) -> GreyImage:
    return load_pixels(manifest.of(Split.TRAIN)[:24], 64)


@pytest.fixture(scope="module")
def ranges(graph: onnx.ModelProto, pixels: GreyImage) -> Ranges:
    return measure_ranges(graph, pixels, lambda _: None)


def test_ranges_equal_those_of_one_batch(
    graph: onnx.ModelProto, pixels: GreyImage, ranges: Ranges
) -> None:
    names = list(ranges)
    values = session_with_outputs(graph, names).run(names, {"image": pixels[:, None]})
    for name, value in zip(names, values, strict=True):
        # Kernels sum floats in another order.
        within = float(1e-5 * np.abs(value).max())
        assert ranges[name] == pytest.approx((value.min(), value.max()), rel=1e-5, abs=within)


def test_ranges_depend_on_neither_order_nor_batch(
    graph: onnx.ModelProto, pixels: GreyImage, ranges: Ranges, monkeypatch
) -> None:
    monkeypatch.setattr("cxredge.quantization.ranges.measure.BATCH", 7)
    assert measure_ranges(graph, pixels[::-1], lambda _: None) == ranges


def initializers(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}


def test_tensorrt_dialect_suits_tensorrt(graph: onnx.ModelProto, ranges: Ranges) -> None:
    emitted = emit(graph, ranges, Dialect.TENSORRT)
    values = initializers(emitted)
    producers = {name: node for node in emitted.graph.node for name in node.output}
    convolutions = [node for node in emitted.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 3
    for node in emitted.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero_point = values[node.input[2]]
            assert zero_point.dtype == np.int8
            assert not zero_point.any()
            assert (values[node.input[1]] > 0).all()
    for node in convolutions:
        weight = producers[node.input[1]]
        assert weight.op_type == "DequantizeLinear"
        quantize = producers[weight.input[0]]
        assert quantize.op_type == "QuantizeLinear"
        assert values[quantize.input[0]].dtype == np.float32
        axis = next(a.i for a in quantize.attribute if a.name == "axis")
        assert (axis, values[quantize.input[1]].shape) == (0, (24,))
        assert values[node.input[2]].dtype == np.float32, "biases stay in float"
    assert emitted.opset_import[0].version == 17
    assert [entry.domain for entry in emitted.opset_import] == [""]


def test_cpu_dialect_suits_cpu_kernels(
    graph: onnx.ModelProto, ranges: Ranges, tmp_path: Path
) -> None:
    emitted = emit(graph, ranges, Dialect.CPU)
    values = initializers(emitted)
    kinds = Counter(
        values[node.input[2]].dtype.name
        for node in emitted.graph.node
        if node.op_type == "QuantizeLinear"
    )
    assert set(kinds) == {"uint8"}
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    ort.InferenceSession(emitted.SerializeToString(), options, ["CPUExecutionProvider"])
    fused = Counter(node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node)
    assert fused["QLinearConv"] == 3, "every convolution runs in integers"


def test_the_head_stays_in_float(graph: onnx.ModelProto, ranges: Ranges) -> None:
    for dialect in Dialect:
        emitted = emit(graph, ranges, dialect)
        gemm = next(node for node in emitted.graph.node if node.op_type == "Gemm")
        assert initializers(emitted)[gemm.input[1]].dtype == np.float32


def mean_shift(
    graph: onnx.ModelProto, quantized: onnx.ModelProto, name: str, pixels: GreyImage
) -> float:
    """Return the mean error of a convolution's channel means, relative to their size."""
    means = []
    for candidate in (graph, quantized):
        output = next(n.output[0] for n in candidate.graph.node if n.name == name)
        values = session_with_outputs(candidate, [output]).run([output], {"image": pixels[:, None]})
        means.append(values[0].mean(axis=(0, 2, 3), dtype=np.float64))
    return float(np.abs(means[1] - means[0]).mean() / np.abs(means[0]).mean())


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("weights", [False, True])
def test_reconstruction_restores_channel_means(
    weights: bool, dialect: Dialect, graph: onnx.ModelProto, ranges: Ranges,
    pixels: GreyImage,
) -> None:  # fmt: skip
    made = reconstruct(graph, ranges, dialect, pixels, lambda _: None, weights=weights)
    plain = emit(graph, ranges, dialect, float_bias=True)
    corrected = emit(made.model, ranges, dialect, float_bias=True, weight_scales=made.scales)
    for name in ("conv1", "depthwise", "pointwise"):
        before = mean_shift(graph, plain, name, pixels)
        after = mean_shift(graph, corrected, name, pixels)
        # ONNX Runtime rounds float biases to int32, which shifts means a little.
        assert after < before / 10, (name, before, after)


def test_reconstruction_does_not_change_its_input(
    graph: onnx.ModelProto, ranges: Ranges, pixels: GreyImage
) -> None:
    before = graph.SerializeToString()
    made = reconstruct(graph, ranges, Dialect.CPU, pixels[:8], lambda _: None, keep=["depthwise"])
    assert graph.SerializeToString() == before
    own = initializers(graph)
    changed = {n for n, v in initializers(made.model).items() if not np.array_equal(v, own[n])}
    depthwise, *others = ("w2", "w1", "w3")
    assert changed == {"b1", "b2", "b3", *others}
    assert made.scales.keys() == set(others)
    assert depthwise not in changed
    for name, scales in made.scales.items():
        steps = initializers(made.model)[name] / scales.reshape(-1, 1, 1, 1)
        assert np.abs(steps - np.rint(steps)).max() < 1e-3
        assert np.abs(steps).max() < 127.5


@pytest.mark.parametrize("dialect", Dialect)
def test_each_correction_reduces_the_logit_error(
    dialect: Dialect, graph: onnx.ModelProto, ranges: Ranges, pixels: GreyImage
) -> None:
    reference = infer_graph(graph, pixels)
    errors = [logit_error(reference, infer_graph(emit(graph, ranges, dialect), pixels))]
    for weights in (False, True):
        made = reconstruct(graph, ranges, dialect, pixels, lambda _: None, weights=weights)
        emitted = emit(made.model, ranges, dialect, weight_scales=made.scales)
        errors.append(logit_error(reference, infer_graph(emitted, pixels)))
    assert errors[2] < errors[1] < errors[0]
