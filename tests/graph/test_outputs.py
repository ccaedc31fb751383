"""Distances and class activation maps in a graph, in every precision and runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from cxredge.backends import open_session
from cxredge.backends.base import Outputs
from cxredge.backends.onnxruntime import run_graph
from cxredge.data.loading import load_pixels
from cxredge.data.manifest import Manifest
from cxredge.errors import CxredgeError
from cxredge.export.half_precision import to_fp16
from cxredge.graph.nodes import copy_of, set_attribute
from cxredge.graph.outputs import (
    add_distance,
    add_maps,
    feature_graph,
    feature_widths,
    find_head,
    find_middle,
)
from cxredge.metrics.reference_bank import ReferenceBank, fit_bank
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.qdq.int8_with_fp16 import to_int8_with_fp16
from cxredge.quantization.ranges.measure import measure_ranges
from cxredge.vocabulary import DISTANCE_NAME, MAPS_NAME, Dialect, Split
from tests.tensorrt_builder import built_bytes

KINDS = ("fp32", "fp16", "int8-cpu", "int8-tensorrt", "int8-fp16")
FOR_TENSORRT = ("fp32", "fp16", "int8-tensorrt", "int8-fp16")
SIZE = 64


@pytest.fixture(scope="module")
def images(manifest: Manifest) -> np.ndarray:
    return load_pixels(manifest.of(Split.TRAIN)[:24], SIZE)


@pytest.fixture(scope="module")
def graphs(model: Path, images: np.ndarray) -> Mapping[str, onnx.ModelProto]:
    """The small network in the forms that runtimes take."""
    graph = onnx.load(model / "model.onnx")
    ranges = measure_ranges(graph, images, lambda _: None)
    int8 = {dialect: emit(graph, ranges, dialect) for dialect in Dialect}
    return {
        "fp32": graph,
        "fp16": to_fp16(graph),
        "int8-cpu": int8[Dialect.CPU],
        "int8-tensorrt": int8[Dialect.TENSORRT],
        "int8-fp16": to_int8_with_fp16(int8[Dialect.TENSORRT]),
    }


def features_of(graph: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    found: np.ndarray = run_graph(feature_graph(graph), images, lambda _: None)
    return found


def bank_of(graph: onnx.ModelProto, images: np.ndarray) -> ReferenceBank:
    features = features_of(graph, images)
    return fit_bank(features, np.arange(len(features)) % 4, feature_widths(graph), max_axes=8)


def run(graph: onnx.ModelProto, images: np.ndarray, path: Path, backend: str) -> Outputs:
    onnx.save(graph, path)
    with open_session(path, backend, threads=1) as session:
        return session.run(images)


@pytest.mark.parametrize("kind", KINDS)
def test_the_distance_is_that_of_the_bank(
    kind: str, graphs: Mapping[str, onnx.ModelProto], images: np.ndarray, tmp_path: Path
) -> None:
    graph = graphs[kind]
    bank = bank_of(graph, images)
    whole = add_maps(add_distance(graph, bank))
    found = run(whole, images, tmp_path / "g.onnx", "onnxruntime")
    plain = run(graph, images, tmp_path / "p.onnx", "onnxruntime")
    expected = bank.distances(features_of(graph, images).astype(np.float64))
    # Distances among few images are small differences of features, which amplifies rounding.
    assert found.distances == pytest.approx(expected, rel=5e-3)
    assert 0.1 < expected.min() < expected.max() < 10
    # ONNX Runtime fuses FP16 differently around more outputs.
    tolerance = 3e-2 if kind.endswith("fp16") else 1e-5
    assert found.logits == pytest.approx(plain.logits, abs=tolerance)
    assert (plain.distances, plain.maps) == (None, None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_of_a_map_and_the_bias_are_the_logit(
    kind: str, graphs: Mapping[str, onnx.ModelProto], images: np.ndarray, tmp_path: Path
) -> None:
    head = find_head(graphs[kind])
    assert head is not None
    found = run(add_maps(graphs[kind]), images, tmp_path / "g.onnx", "onnxruntime")
    assert found.maps is not None
    assert found.maps.shape == (24, 4, 32, 32)
    # FP16 rounds the pooled features and the logits; maps are computed in FP32.
    tolerance = 2e-2 if kind.endswith("fp16") else 1e-4
    means = found.maps.mean(axis=(2, 3)) + head.bias
    assert means == pytest.approx(found.logits, abs=tolerance)


@pytest.mark.parametrize("kind", ["fp32", "int8-cpu"])
def test_openvino_returns_what_onnx_runtime_returns(
    kind: str,
    graphs: Mapping[str, onnx.ModelProto],
    images: np.ndarray,
    tmp_path: Path,
    openvino: None,
) -> None:
    graph = add_maps(add_distance(graphs[kind], bank_of(graphs[kind], images)))
    one = run(graph, images, tmp_path / "g.onnx", "onnxruntime")
    other = run(graph, images, tmp_path / "g.onnx", "openvino")
    assert one.distances is not None
    assert one.maps is not None
    # INT8 is rounded differently, which a network of random filters does not average out.
    share = 1e-3 if kind == "fp32" else 0.2
    assert other.distances == pytest.approx(one.distances, rel=share)
    assert other.maps is not None
    assert np.abs(other.maps - one.maps).max() <= share * np.abs(one.maps).max()


@pytest.mark.parametrize("kind", FOR_TENSORRT)
def test_the_real_builder_takes_both_outputs(
    kind: str, graphs: Mapping[str, onnx.ModelProto], images: np.ndarray
) -> None:
    graph = add_maps(add_distance(graphs[kind], bank_of(graphs[kind], images)))
    size, said = built_bytes(graph)
    # The builder prints this for every kernel with FP32 scales, without loss of accuracy.
    assert [words for words in said if "scales to fp32" not in words] == []
    assert size > 1000
    assert [output.name for output in graph.graph.output] == ["logits", DISTANCE_NAME, MAPS_NAME]


@pytest.mark.parametrize(
    ("kind", "stride", "middle"),
    [
        ("fp32", 16, "r1"),
        ("int8-cpu", 8, "r1_dequantized"),
        ("int8-tensorrt", 16, "r1_dequantized"),
    ],
)
def test_the_middle_counts_as_the_next_layers_read_it(
    kind: str,
    stride: int,
    middle: str,
    graphs: Mapping[str, onnx.ModelProto],
    images: np.ndarray,
    tmp_path: Path,
) -> None:
    graph = copy_of(graphs[kind])
    assert find_middle(graph) == [], "its maps are half as wide as the picture"
    first = next(node for node in graph.graph.node if node.op_type == "Conv")
    set_attribute(first, "strides", [stride, stride])
    del graph.graph.value_info[:]
    assert find_middle(graph) == [middle]
    assert feature_widths(graph) == (24, 24)
    features = features_of(graph, images)
    assert features.shape == (24, 2 * 24)
    bank = fit_bank(features, np.arange(24) % 4, feature_widths(graph), max_axes=8)
    distances = run(add_distance(graph, bank), images, tmp_path / "g.onnx", "onnxruntime").distances
    assert distances == pytest.approx(bank.distances(features.astype(np.float64)), rel=1e-3)


def test_a_graph_of_a_newer_opset_has_the_same_distance(
    graphs: Mapping[str, onnx.ModelProto], images: np.ndarray, tmp_path: Path
) -> None:
    """Opset 18 made the axes of ReduceMin an input."""
    newer = onnx.version_converter.convert_version(graphs["fp32"], 18)
    bank = bank_of(graphs["fp32"], images)
    found = [
        run(add_distance(graph, bank), images, tmp_path / "g.onnx", "onnxruntime").distances
        for graph in (graphs["fp32"], newer)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_the_graph_that_is_given_is_not_changed(
    graphs: Mapping[str, onnx.ModelProto], images: np.ndarray
) -> None:
    before = graphs["fp32"].SerializeToString()
    add_maps(add_distance(graphs["fp32"], bank_of(graphs["fp32"], images)))
    assert graphs["fp32"].SerializeToString() == before


def test_a_network_that_ends_otherwise_has_neither(
    graphs: Mapping[str, onnx.ModelProto], images: np.ndarray
) -> None:
    bank = bank_of(graphs["fp32"], images)
    other = onnx.ModelProto()
    other.CopyFrom(graphs["fp32"])
    (pool,) = [node for node in other.graph.node if node.op_type == "GlobalAveragePool"]
    pool.op_type = "GlobalMaxPool"
    assert find_head(other) is None
    with pytest.raises(CxredgeError, match="Class activation maps require global average") as maps:
        add_maps(other)
    assert "--no-heatmaps" in maps.value.hint
    with pytest.raises(CxredgeError, match="Distances require a network with") as distance:
        add_distance(other, bank)
    assert "--no-familiarity" in distance.value.hint


def test_each_network_of_the_zoo_returns_its_distance(
    zoo_graph: onnx.ModelProto, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    size = zoo_graph.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    images = rng.integers(0, 256, (8, 1, 1), dtype=np.uint8).repeat(size, 1).repeat(size, 2)
    images[:, : size // 2] //= rng.integers(1, 9, (8, 1, 1), dtype=np.uint8)
    features = features_of(zoo_graph, images)
    # With as many axes as images nothing would be left off them.
    bank = fit_bank(features, np.arange(8) % 2, feature_widths(zoo_graph), max_axes=2)
    graph = add_maps(add_distance(zoo_graph, bank))
    found = run(graph, images, tmp_path / "g.onnx", "onnxruntime")
    expected = bank.distances(features.astype(np.float64))
    assert found.distances == pytest.approx(expected, rel=1e-3)
    assert 0.5 < expected.mean() < 2
    head = find_head(zoo_graph)
    assert head is not None
    assert found.maps is not None
    means = found.maps.mean(axis=(2, 3)) + head.bias
    assert means == pytest.approx(found.logits, abs=1e-4 * max(1, np.abs(found.logits).max()))


@pytest.fixture(
    params=[
        pytest.param(name, marks=[pytest.mark.train, *([pytest.mark.slow] if heavy else [])])
        for name, heavy in (
            ("mobilenet_v1", False), ("mobilenet_v2", False), ("nasnet_mobile", True),
            ("vgg19", True), ("inception_v3", True), ("resnet50_v2", True),
            ("densenet121", True), ("resnet50", True),
        )
    ]
)  # fmt: skip
def zoo_graph(request: pytest.FixtureRequest) -> onnx.ModelProto:
    """A network with random weights, exported; those of the paper."""
    torch = pytest.importorskip("torch", reason="needs the train extra")
    from cxredge.export.trace import GreyClassifier, to_onnx
    from cxredge.models import build_model

    torch.manual_seed(0)
    network = build_model(request.param, 4).eval()
    size = 96 if request.param == "inception_v3" else 64
    return to_onnx(GreyClassifier(network, 0.5, 0.5).eval(), size)
