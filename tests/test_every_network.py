"""Every network of the zoo, from training to predictions."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from cxredge.artifacts.card import read_artifact, read_card  # noqa: E402
from cxredge.artifacts.model_card import ExportedCard  # noqa: E402
from cxredge.backends import open_session  # noqa: E402
from cxredge.backends.base import available_cores  # noqa: E402
from cxredge.backends.batched import infer_file  # noqa: E402
from cxredge.backends.tensorrt.api import Flavour  # noqa: E402
from cxredge.backends.tensorrt.builder import build_engine  # noqa: E402
from cxredge.backends.tensorrt.facts import EngineFacts  # noqa: E402
from cxredge.backends.tensorrt.settings import EngineConfig  # noqa: E402
from cxredge.build import speed  # noqa: E402
from cxredge.bundle.card import BundleCard  # noqa: E402
from cxredge.bundle.serving import RuntimeSettings  # noqa: E402
from cxredge.data.loading import load_pixels  # noqa: E402
from cxredge.data.manifest import Manifest, write_manifest  # noqa: E402
from cxredge.errors import CxredgeError  # noqa: E402
from cxredge.export.half_precision import write_fp16  # noqa: E402
from cxredge.graph.geometry import grid_of  # noqa: E402
from cxredge.graph.index import GraphIndex  # noqa: E402
from cxredge.graph.model_file import infer_values, read_model  # noqa: E402
from cxredge.graph.outputs import add_maps, find_head  # noqa: E402
from cxredge.models.zoo import ZOO  # noqa: E402
from cxredge.quantization import quantize  # noqa: E402
from cxredge.quantization.correction.centring import centre  # noqa: E402
from cxredge.quantization.float_layers import group_layers  # noqa: E402
from cxredge.quantization.qdq.emit import emit  # noqa: E402
from cxredge.quantization.qdq.int8_with_fp16 import to_int8_with_fp16  # noqa: E402
from cxredge.quantization.qdq.legality import check_legality  # noqa: E402
from cxredge.quantization.qdq.placement import activations_to_measure, place  # noqa: E402
from cxredge.quantization.ranges.measure import measure, measure_ranges  # noqa: E402
from cxredge.quantization.sessions import infer_graph  # noqa: E402
from cxredge.vocabulary import Dialect, Precision, Split  # noqa: E402
from tests.tensorrt_builder import built_bytes  # noqa: E402

# Networks with many or large layers: they use the quick effort, and most need over ten seconds.
HEAVY = set(ZOO) - {"mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small"}
pytestmark = pytest.mark.train


def size_of(name: str) -> int:
    return 96 if name == "inception_v3" else 64


@pytest.fixture(scope="module")
def few(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Four training images and two test images per class."""
    kept = []
    for split, count in ((Split.TRAIN, 4), (Split.VAL, 1), (Split.TEST, 2)):
        for label in manifest.classes:
            kept += [e for e in manifest.of(split) if e.label == label][:count]
    return write_manifest(tmp_path_factory.mktemp("few") / "manifest.csv", kept)


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=[pytest.mark.slow] * (n in HEAVY)) for n in ZOO],
)
def exported(
    request: pytest.FixtureRequest,
    few: Manifest,
    cxredge,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A network, exported after one epoch of training.

    ResNet50V2 needs eight steps: after one, its logits are about 0.001, less than the rounding
    error, and the relative error is a matter of chance (0.07 to 0.16).
    """
    name: str = request.param
    batch = 2 if name == "resnet50_v2" else 16
    folder = tmp_path_factory.mktemp(name)
    ran = cxredge(
        "train", few.path, "--model", name, "--weights", "none", "--freeze", "none",
        "--input-size", size_of(name), "--epochs", 1, "--batch-size", batch,
        "--out", folder / "run",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    ran = cxredge("export", folder / "run", "--out", folder / "fp32", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["parity_max_abs"] <= 1e-4
    return folder / "fp32"


def test_a_network_passes_all_stages(
    exported: Path, few: Manifest, cxredge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = read_card(exported, ExportedCard).classifier.network
    # Neither the search for runtime settings nor the timing of steps depends on the network.
    setups = (RuntimeSettings(1), RuntimeSettings(1, available_cores()))
    monkeypatch.setattr(speed, "_best_setups", lambda v, *_: tuple((v, one) for one in setups))
    monkeypatch.setattr(quantize, "time_steps", lambda _, graphs, __: [1.0] * (1 + len(graphs)))
    effort = "quick" if network in HEAVY else "default"
    ran = cxredge("calibrate", few.path, "--count", 8, "--out", tmp_path / "calibration.csv")
    assert ran.code == 0, ran.err
    ran = cxredge(
        "build", exported, "--calibration", tmp_path / "calibration.csv", "--precision", "int8",
        "--min-agreement", 0, "--max-accuracy-drop", 1, "--max-auroc-drop", 1,
        "--max-sensitivity-drop", 1, "--max-calibration-error-rise", 1, "--effort", effort,
        "--out", tmp_path / "bundle", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.json["precision"] == "int8"
    assert ran.json["gate"]["logit_error"] < 0.1
    out = tmp_path / "predictions.csv"
    image = few.of(Split.TEST)[0].path
    # With four validation images, familiarity is a matter of chance.
    ran = cxredge("predict", tmp_path / "bundle", image, "--answer-all", "--out", out)
    assert ran.code == 0, ran.err
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["status"] for row in rows] == ["ok"]
    assert read_card(tmp_path / "bundle", BundleCard).classifier.network == network


@pytest.fixture(scope="module")
def emitted(exported: Path, few: Manifest) -> dict[Dialect, onnx.ModelProto]:
    graph = onnx.load(exported / "model.onnx")
    size = read_card(exported, ExportedCard).classifier.input_size
    pixels = load_pixels(few.of(Split.TRAIN)[:4], size)
    ranges = measure_ranges(graph, pixels, lambda _: None)
    centred = centre(graph, ranges)
    return {
        Dialect.CPU: emit(graph, ranges, Dialect.CPU),
        Dialect.TENSORRT: emit(centred.model, centred.ranges, Dialect.TENSORRT),
    }


def test_centring_does_not_change_the_logits(exported: Path, few: Manifest) -> None:
    card, graph = read_card(exported, ExportedCard).classifier, onnx.load(exported / "model.onnx")
    pixels = load_pixels(few.of(Split.TEST), card.input_size)
    centred = centre(graph, measure_ranges(graph, pixels, lambda _: None))
    assert len(centred.moves) == {"mobilenet_v1": 13, "mobilenet_v2": 17}.get(card.network, 0)
    expected = infer_graph(graph, pixels)
    assert infer_graph(centred.model, pixels) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("dialect", Dialect)
def test_all_ranges_that_layers_in_float_need_are_measured(
    exported: Path, dialect: Dialect
) -> None:
    graph = onnx.load(exported / "model.onnx")
    names = activations_to_measure(graph, dialect)
    size = read_card(exported, ExportedCard).classifier.input_size
    found = measure(graph, [np.zeros((1, size, size), np.uint8)], lambda _: None, wanted=names)
    measured, index = set(found.histograms), GraphIndex(graph.graph)
    groups = group_layers(graph)
    for kept in (*groups[:: len(groups) // 6], *(sum(groups[i::3], ()) for i in range(3))):
        placement = place(graph, dialect, kept)
        needed = {index.name_at(edge) for edge in placement.edges}.union(*placement.shared)
        assert needed <= measured, kept


def count(model: onnx.ModelProto, kind: str) -> int:
    return sum(node.op_type == kind for node in model.graph.node)


def built_ahead(path: Path, plan: Path, precision: Precision) -> EngineFacts:
    """Build an engine with the real builder, which rejects unsupported nodes."""
    pytest.importorskip("tensorrt_rtx", reason="needs the rtx extra")
    settings = EngineConfig(precision, batches=(8,), flavour=Flavour.RTX, compute_capability="8.6")
    return build_engine(path, plan, settings)


def test_tensorrt_accepts_int8(
    exported: Path, emitted: dict[Dialect, onnx.ModelProto], tmp_path: Path
) -> None:
    model = emitted[Dialect.TENSORRT]
    assert check_legality(model, Dialect.TENSORRT) == []
    convolutions = count(onnx.load(exported / "model.onnx"), "Conv")
    assert count(model, "Conv") == convolutions
    onnx.save(model, tmp_path / "int8.onnx")
    facts = built_ahead(tmp_path / "int8.onnx", tmp_path / "int8.plan", Precision.INT8)
    assert facts.warnings == (), "such as: Defaulting to INT8"
    assert facts.network_formats["int8"] == count(model, "QuantizeLinear")
    assert facts.network_formats["int8"] > convolutions, "all weights, and inputs"
    assert set(facts.network_formats) <= {"int8", "float", "int64", "int32", "bool"}


@pytest.fixture(scope="module")
def half(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network as an FP16 file."""
    out = tmp_path_factory.mktemp("half") / "fp16"
    write_fp16(read_artifact(exported, ExportedCard), out)
    return out / "model.onnx"


def test_tensorrt_accepts_fp16(exported: Path, half: Path, tmp_path: Path) -> None:
    facts = built_ahead(half, tmp_path / "fp16.plan", Precision.FP16)
    assert facts.warnings == ()
    convolutions = count(onnx.load(exported / "model.onnx"), "Conv")
    assert facts.network_formats["half"] > convolutions
    assert facts.network_formats["float"] == 1, "only the logits"


def test_fp16_logits_are_close_to_fp32(exported: Path, half: Path, few: Manifest) -> None:
    pixels = load_pixels(
        few.of(Split.TEST), read_card(exported, ExportedCard).classifier.input_size
    )
    expected = infer_file(exported / "model.onnx", pixels)
    found = infer_file(half, pixels)
    assert np.abs(found - expected).max() < 0.02 * max(1.0, np.abs(expected).max())


def test_tensorrt_accepts_int8_with_fp16_in_between(
    emitted: dict[Dialect, onnx.ModelProto],
) -> None:
    model = to_int8_with_fp16(emitted[Dialect.TENSORRT])
    assert check_legality(model, Dialect.TENSORRT) == []
    pytest.importorskip("tensorrt_rtx", reason="needs the rtx extra")
    plan, heard = built_bytes(model)
    # The builder prints this for every kernel with FP32 scales, without loss of accuracy.
    assert [words for words in heard if "scales to fp32" not in words] == []
    assert plan > 1000


def test_every_convolution_runs_in_integers_on_a_cpu(
    exported: Path, emitted: dict[Dialect, onnx.ModelProto], tmp_path: Path
) -> None:
    model = emitted[Dialect.CPU]
    assert check_legality(model, Dialect.CPU) == []
    options = ort.SessionOptions()
    options.log_severity_level = (
        3  # suppresses the warning that the saved graph is specific to this machine
    )
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    fused = onnx.load(tmp_path / "fused.onnx")
    assert count(fused, "QLinearConv") == count(model, "Conv")
    assert count(fused, "QLinearAdd") == count(model, "Add") - 1  # that of the normalisation
    if read_card(exported, ExportedCard).classifier.network != "densenet121":
        # In DenseNet, ONNX Runtime turns batch norms into convolutions without an integer kernel.
        assert count(fused, "Conv") == 0


def test_inferred_values_equal_those_of_onnx(exported: Path) -> None:
    graph = onnx.load(exported / "model.onnx")
    whole = onnx.shape_inference.infer_shapes(graph).graph
    expected = {value.name: value for value in (*whole.value_info, *whole.output)}
    assert {value.name: value for value in infer_values(graph)} == expected
    assert len(expected) > len(graph.graph.node) / 2


def test_every_graph_is_simplified(exported: Path) -> None:
    """Only NASNet keeps Pad nodes: before max pools, where zero is not the lowest value."""
    kinds = [node.op_type for node in onnx.load(exported / "model.onnx").graph.node]
    assert not {"Identity", "Slice", "Constant", "Shape", "Dropout", "Reshape"} & set(kinds)
    is_nasnet = read_card(exported, ExportedCard).classifier.network == "nasnet_mobile"
    assert kinds.count("Pad") == (4 if is_nasnet else 0)


def test_the_mean_of_a_map_and_the_bias_are_the_logit(
    exported: Path, few: Manifest, tmp_path: Path
) -> None:
    """Zhou et al. 2016; a network with a layer behind the pooling has no such map."""
    graph = read_model(exported / "model.onnx")
    network = read_card(exported, ExportedCard).classifier.network
    head = find_head(graph)
    if head is None:
        assert network == "mobilenet_v4_conv_small"
        with pytest.raises(CxredgeError, match="Class activation maps require"):
            add_maps(graph)
        return
    onnx.save(add_maps(graph), tmp_path / "maps.onnx")
    pixels = load_pixels(few.of(Split.TEST), size_of(network))
    with open_session(tmp_path / "maps.onnx") as session:
        found = session.run(pixels)
    assert found.maps is not None
    scale = np.abs(found.maps).max()
    means = found.maps.mean(axis=(2, 3)) + head.bias
    np.testing.assert_allclose(means, found.logits, atol=1e-5 * max(1.0, scale))
    grid = grid_of(graph, head.features, size_of(network))
    assert grid is not None
    assert grid.stride == 32
    last = grid.top + grid.stride * (found.maps.shape[2] - 1)
    assert 0 <= grid.top <= last < size_of(network)
