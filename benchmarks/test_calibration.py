"""INT8 from calibration images: ranges, corrected weights, the whole command."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import onnx
import pytest

from benchmarks.commands import cxredge
from cxredge.data.images import GreyImage
from cxredge.data.loading import load_pixels
from cxredge.quantization.calibration_set import read_calibration
from cxredge.quantization.correction.reconstruction import reconstruct
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.ranges.measure import measure_ranges
from cxredge.vocabulary import Dialect, Split


@pytest.fixture(scope="module")
def pixels(calibration: Path, size: int) -> GreyImage:
    return load_pixels(read_calibration(calibration).of(Split.TRAIN), size)


def test_ranges(benchmark, model: Path, pixels: GreyImage) -> None:
    graph = onnx.load(model / "model.onnx")
    ranges = benchmark.pedantic(measure_ranges, (graph, pixels, lambda _: None), rounds=3)
    benchmark.extra_info["images"] = len(pixels)
    assert ranges["logits"][0] < ranges["logits"][1]


@pytest.mark.parametrize("dialect", list(Dialect), ids=lambda dialect: dialect.value)
def test_correction(benchmark, dialect: Dialect, model: Path, pixels: GreyImage) -> None:
    graph = onnx.load(model / "model.onnx")
    ranges = measure_ranges(graph, pixels, lambda _: None)
    arguments = (graph, ranges, dialect, pixels, lambda _: None)
    made = benchmark.pedantic(reconstruct, arguments, rounds=3)
    benchmark.extra_info["images"] = len(pixels)
    onnx.checker.check_model(emit(made.model, ranges, dialect, weight_scales=made.scales))


def test_quantize(benchmark, model: Path, calibration: Path, tmp_path: Path) -> None:
    """The command from start to end, ``--effort quick``."""
    number = count()

    def run() -> Path:
        out = tmp_path / str(next(number))
        cxredge(
            "quantize", model, "--calibration", calibration, "--evaluate", model / "manifest.csv",
            "--dialect", "cpu", "--effort", "quick", "--out", out,
        )  # fmt: skip
        return out

    assert (benchmark.pedantic(run, rounds=3) / "model.onnx").is_file()
