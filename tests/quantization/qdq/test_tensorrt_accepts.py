"""The TensorRT dialect in a real parser and builder of the TensorRT family, without a GPU."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from cxredge.data.loading import load_pixels
from cxredge.data.manifest import Manifest
from cxredge.quantization.correction.reconstruction import reconstruct
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.ranges.measure import measure_ranges
from cxredge.vocabulary import Dialect, Split
from tests.tensorrt_builder import built_bytes

pytest.importorskip("tensorrt_rtx", reason="needs the rtx extra")


@pytest.fixture(scope="module")
def emitted(model: Path, manifest: Manifest) -> dict[Dialect, onnx.ModelProto]:
    graph = onnx.load(model / "model.onnx")
    pixels = load_pixels(manifest.of(Split.TRAIN)[:8], 64)
    ranges = measure_ranges(graph, pixels, lambda _: None)
    made = reconstruct(graph, ranges, Dialect.TENSORRT, pixels, lambda _: None)
    return {
        dialect: emit(made.model, ranges, dialect, weight_scales=made.scales) for dialect in Dialect
    }


def test_tensorrt_dialect_builds(emitted: dict[Dialect, onnx.ModelProto]) -> None:
    size, said = built_bytes(emitted[Dialect.TENSORRT])
    assert said == []
    assert size > 1000


def test_cpu_dialect_is_refused(emitted: dict[Dialect, onnx.ModelProto]) -> None:
    size, said = built_bytes(emitted[Dialect.CPU])
    assert size == 0
    assert said != []
