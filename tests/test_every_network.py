"""Every network of the zoo from training to predictions: nothing on the way may depend on one."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from cxredge import candidates  # noqa: E402
from cxredge.artifacts import read_card  # noqa: E402
from cxredge.data.manifest import Manifest, load_pixels, write_manifest  # noqa: E402
from cxredge.half_precision import write_fp16  # noqa: E402
from cxredge.inference import infer_file  # noqa: E402
from cxredge.models.zoo import ZOO  # noqa: E402
from cxredge.quantization.qdq import emit  # noqa: E402
from cxredge.quantization.ranges import measure_ranges  # noqa: E402
from cxredge.vocabulary import Dialect, Split  # noqa: E402
from tests.tensorrt_builder import built_bytes  # noqa: E402

# Many layers, or large ones: more than ten seconds.
HEAVY = {"nasnet_mobile", "vgg19", "inception_v3", "resnet50", "resnet50_v2", "densenet121"}
pytestmark = pytest.mark.train


def size_of(name: str) -> int:
    return 96 if name == "inception_v3" else 64


@pytest.fixture(scope="module")
def few(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Four images to train on for each class and two to test on."""
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
    """A network after one step of training, exported."""
    name: str = request.param
    folder = tmp_path_factory.mktemp(name)
    ran = cxredge(
        "train", few.path, "--model", name, "--weights", "none", "--freeze", "none",
        "--input-size", size_of(name), "--epochs", 1, "--batch-size", 16, "--out", folder / "run",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    ran = cxredge("export", folder / "run", "--out", folder / "fp32", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["parity_max_abs"] <= 1e-4
    return folder / "fp32"


def test_a_network_goes_all_the_way(
    exported: Path, few: Manifest, cxredge, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(candidates, "_WARM_UP", 1)
    monkeypatch.setattr(candidates, "_ROUNDS", 5)
    ran = cxredge("calibrate", few.path, "--count", 8, "--out", tmp_path / "calibration.csv")
    assert ran.code == 0, ran.err
    ran = cxredge(
        "build", exported, "--calibration", tmp_path / "calibration.csv", "--precision", "int8",
        "--min-agreement", 0, "--max-accuracy-drop", 1, "--max-auroc-drop", 1,
        "--max-sensitivity-drop", 1, "--max-calibration-error-rise", 1,
        "--out", tmp_path / "bundle", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.json["precision"] == "int8"
    assert ran.json["gate"]["logit_error"] < 0.1
    out = tmp_path / "predictions.csv"
    ran = cxredge("predict", tmp_path / "bundle", few.of(Split.TEST)[0].path, "--out", out)
    assert ran.code == 0, ran.err
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["status"] for row in rows] == ["ok"]
    assert (
        read_card(tmp_path / "bundle").classifier.network == read_card(exported).classifier.network
    )


def test_tensorrt_takes_it(exported: Path, few: Manifest) -> None:
    graph = onnx.load(exported / "model.onnx")
    size = read_card(exported).classifier.input_size
    pixels = load_pixels(few.of(Split.TRAIN)[:4], size)
    emitted = emit(graph, measure_ranges(graph, pixels, lambda _: None), Dialect.TENSORRT)
    convolutions = sum(node.op_type == "Conv" for node in graph.graph.node)
    assert sum(node.op_type == "Conv" for node in emitted.graph.node) == convolutions
    pytest.importorskip("tensorrt_rtx", reason="needs the rtx extra")
    plan, said = built_bytes(emitted)
    assert said == []
    assert plan > 1000


def test_fp16_says_the_same(exported: Path, few: Manifest, tmp_path: Path) -> None:
    write_fp16(exported, tmp_path / "fp16")
    pixels = load_pixels(few.of(Split.TEST), read_card(exported).classifier.input_size)
    expected = infer_file(exported / "model.onnx", pixels)
    found = infer_file(tmp_path / "fp16" / "model.onnx", pixels)
    assert np.abs(found - expected).max() < 0.02 * max(1.0, np.abs(expected).max())


def test_every_graph_is_lean(exported: Path) -> None:
    """Padding stays only before NASNet's max pools, where a zero is not the lowest value."""
    kinds = [node.op_type for node in onnx.load(exported / "model.onnx").graph.node]
    assert not {"Identity", "Slice", "Constant", "Shape", "Dropout", "Reshape"} & set(kinds)
    is_nasnet = read_card(exported).classifier.network == "nasnet_mobile"
    assert kinds.count("Pad") == (4 if is_nasnet else 0)
