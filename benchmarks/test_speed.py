"""What a device spends its time on: decoding, inference in each precision, calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from cxredge.backends import open_session
from cxredge.bundle import open_bundle, read_golden
from cxredge.data.images import load_grey
from cxredge.data.phantoms import render_phantom
from cxredge.quantization.qdq import emit
from cxredge.quantization.ranges import measure_ranges
from cxredge.quantization.reconstruction import reconstruct
from cxredge.vocabulary import Dialect


@pytest.mark.parametrize(("name", "side"), [("png", 1024), ("jpg", 1024), ("jpg", 224)])
def test_preprocessing(benchmark, name: str, side: int, tmp_path: Path) -> None:
    path = tmp_path / f"image.{name}"
    Image.fromarray(render_phantom("viral", 1, 0, side)).save(path)
    pixels = benchmark(load_grey, path, 224)
    assert pixels.shape == (224, 224)


@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_inference(benchmark, precision: str, batch: int, bundle: Path) -> None:
    pixels = np.repeat(read_golden(open_bundle(bundle)).pixels[:1], batch, axis=0)
    with open_session(bundle / f"model-{precision}.onnx") as session:
        logits = benchmark(session.infer, pixels)
    assert logits.shape == (batch, 4)


def test_calibration(benchmark, bundle: Path) -> None:
    model = onnx.load(bundle / "model-fp32.onnx")
    pixels = read_golden(open_bundle(bundle)).pixels
    ranges = benchmark.pedantic(measure_ranges, (model, pixels, lambda _: None), rounds=3)
    assert ranges["logits"][0] < ranges["logits"][1]


def test_correction(benchmark, bundle: Path) -> None:
    model = onnx.load(bundle / "model-fp32.onnx")
    pixels = read_golden(open_bundle(bundle)).pixels
    ranges = measure_ranges(model, pixels, lambda _: None)
    arguments = (model, ranges, Dialect.CPU, pixels, lambda _: None)
    made = benchmark.pedantic(reconstruct, arguments, rounds=3)
    onnx.checker.check_model(emit(made.model, ranges, Dialect.CPU, weight_scales=made.scales))
