"""Signal and noise of each layer in INT8, and histograms of the noisiest layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from cxredge.artifacts.quantization_record import LayerNoise
from cxredge.data.loading import load_pixels
from cxredge.data.manifest import Manifest
from cxredge.quantization.layer_noise import measure_layers
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.ranges.measure import measure
from cxredge.quantization.sessions import session_with_outputs
from cxredge.report.blocks import Figure, Table
from cxredge.report.int8_layers import layer_blocks
from cxredge.vocabulary import Dialect, RangeMethod, Split


@pytest.fixture(scope="module", params=Dialect)
def layers(request: pytest.FixtureRequest, model: Path, manifest: Manifest) -> list[LayerNoise]:
    graph = onnx.load(model / "model.onnx")
    pixels = load_pixels(manifest.of(Split.TRAIN)[:12], 64)
    statistics = measure(graph, [pixels], lambda _: None)
    symmetric = request.param is Dialect.TENSORRT
    ranges = statistics.ranges(RangeMethod.PERCENTILE, symmetric)
    quantized = emit(graph, ranges, request.param, keep=["conv1"])
    return measure_layers(graph, quantized, statistics, ranges, pixels, ["conv1"])


def test_noise_begins_with_the_first_layer_in_int8(layers: list[LayerNoise]) -> None:
    first, depthwise, pointwise = layers
    assert [layer.name for layer in layers] == ["conv1", "depthwise", "pointwise"]
    assert (first.in_float, depthwise.in_float) == (True, False)
    assert first.snr_db is None
    assert 10 < pointwise.snr_db < depthwise.snr_db < 70


def test_the_ratio_follows_the_definition(model: Path, manifest: Manifest) -> None:
    graph = onnx.load(model / "model.onnx")
    pixels = load_pixels(manifest.of(Split.VAL)[:3], 64)
    statistics = measure(graph, [pixels], lambda _: None)
    ranges = statistics.ranges(RangeMethod.MINMAX, True)
    quantized = emit(graph, ranges, Dialect.TENSORRT)
    found = measure_layers(graph, quantized, statistics, ranges, pixels, [])
    feed = {"image": pixels[:, None]}
    before, after = (
        session_with_outputs(m, ["c3"]).run(["c3"], feed)[0] for m in (graph, quantized)
    )
    ratio = 10 * np.log10((before**2).sum() / ((after - before) ** 2).sum())
    assert found[-1].snr_db == pytest.approx(ratio, abs=1e-3)


def test_histograms_count_every_value(layers: list[LayerNoise], manifest: Manifest) -> None:
    depthwise = layers[1]
    assert depthwise.reads == "r1"
    assert sum(depthwise.counts) == 12 * 24 * 32 * 32
    low, high = depthwise.measured
    assert (low, high) == (0.0, pytest.approx(6.0, abs=6))
    assert depthwise.clipped_to is not None


def test_report_draws_the_layers(layers: list[LayerNoise]) -> None:
    blocks = layer_blocks([layer.rounded() for layer in layers], "calibration")
    profile, table, *distributions = blocks
    assert isinstance(profile, Figure)
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["pointwise", "depthwise"]
    assert [figure.title for figure in distributions] == [
        "Input of pointwise", "Input of depthwise",
    ]  # fmt: skip
    assert all("<svg" in figure.svg for figure in (profile, *distributions))


def test_without_layers_nothing_is_drawn() -> None:
    assert layer_blocks([], "validation") == []
