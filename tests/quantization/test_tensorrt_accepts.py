"""The TensorRT dialect in the hands of a real TensorRT-family parser and builder, without a GPU."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from cxredge.data.manifest import Manifest, load_pixels
from cxredge.quantization.bias_correction import correct_biases
from cxredge.quantization.qdq import emit
from cxredge.quantization.ranges import measure_ranges
from cxredge.vocabulary import Dialect, Split

trt = pytest.importorskip("tensorrt_rtx", reason="needs the rtx extra")


def built_bytes(model: onnx.ModelProto) -> tuple[int, list[str]]:
    """Return the size of the plan and what the parser said."""
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse(model.SerializeToString())
    said = [parser.get_error(i).desc() for i in range(parser.num_errors)]
    if not parsed:
        return 0, said
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    profile = builder.create_optimization_profile()
    shape = network.get_input(0).shape
    profile.set_shape("image", *[(n, *tuple(shape)[1:]) for n in (1, 4, 8)])
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    return (len(bytes(plan)) if plan else 0), said


@pytest.fixture(scope="module")
def emitted(model: Path, manifest: Manifest) -> dict[Dialect, onnx.ModelProto]:
    graph = onnx.load(model / "model.onnx")
    pixels = load_pixels(manifest.of(Split.TRAIN)[:8], 64)
    ranges = measure_ranges(graph, pixels, lambda _: None)
    corrected = correct_biases(graph, ranges, Dialect.TENSORRT, pixels, lambda _: None)
    return {dialect: emit(corrected, ranges, dialect) for dialect in Dialect}


def test_tensorrt_dialect_builds(emitted: dict[Dialect, onnx.ModelProto]) -> None:
    size, said = built_bytes(emitted[Dialect.TENSORRT])
    assert said == []
    assert size > 1000


def test_cpu_dialect_is_refused(emitted: dict[Dialect, onnx.ModelProto]) -> None:
    size, said = built_bytes(emitted[Dialect.CPU])
    assert size == 0
    assert said != []
