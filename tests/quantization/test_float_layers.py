from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from cxredge.data.loading import load_pixels
from cxredge.data.manifest import Manifest
from cxredge.quantization.float_layers import stem
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.ranges.measure import measure_ranges
from cxredge.vocabulary import Dialect, Split


@pytest.fixture(scope="module")
def graph(model: Path) -> onnx.ModelProto:
    return onnx.load(model / "model.onnx")


# Multiplications of the small network: 32*32*24*25 = 614,400 for conv1, 32*32*24*9 = 221,184 for
# the depthwise one, 32*32*24*24 = 589,824 for the pointwise one; 1,425,408 in all.
@pytest.mark.parametrize(
    ("share", "names"),
    [
        (0.06, set()),
        (0.43, set()),
        (0.44, {"conv1"}),
        (0.58, {"conv1"}),
        (0.59, {"conv1", "depthwise"}),
        (1.0, {"conv1", "depthwise", "pointwise"}),
    ],
)
def test_the_stem_is_the_first_layers_within_the_share(
    graph: onnx.ModelProto, share: float, names: set[str]
) -> None:
    assert stem(graph, share) == names


@pytest.mark.parametrize("dialect", Dialect)
def test_layers_to_keep_are_not_quantized(
    dialect: Dialect, graph: onnx.ModelProto, manifest: Manifest
) -> None:
    pixels = load_pixels(manifest.of(Split.TRAIN)[:4], 64)
    ranges = measure_ranges(graph, pixels, lambda _: None)
    emitted = emit(graph, ranges, dialect, keep={"conv1"})
    weights = {i.name: onnx.numpy_helper.to_array(i) for i in emitted.graph.initializer}
    inputs = {n.name: n.input[1] for n in emitted.graph.node if n.op_type == "Conv"}
    assert weights[inputs["conv1"]].dtype == np.float32
    assert inputs["depthwise"] not in weights
    assert inputs["pointwise"] not in weights
