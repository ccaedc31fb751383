"""Shared fixtures: generated images, a small network made without torch, and a command runner."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Set before numpy and torch are imported: every core has a worker, and threads that wait for each
# other take several times as long on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import onnx
import pytest
from hypothesis import settings
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from cxredge.artifacts.card import ClassifierSpec, write_card
from cxredge.artifacts.folder import atomic_folder
from cxredge.artifacts.hashing import sha256_of_file
from cxredge.artifacts.model_card import ExportConfig, ExportedCard, ExportFacts
from cxredge.backends import open_session
from cxredge.data.images import PREPROCESSING
from cxredge.data.loading import load_pixels
from cxredge.data.manifest import Manifest, read_manifest, write_manifest
from cxredge.graph import model_file as onnx_graph
from cxredge.quantization.ranges.statistics import Ranges
from cxredge.vocabulary import Dialect, Split
from tests.fitted_images import write_fitted_images
from tests.quick_search import shorten

SIZE = 64
PATIENTS = 14

# The duration of an example depends on the load of the machine.
settings.register_profile("cxredge", deadline=None)
settings.load_profile("cxredge")


@dataclass(frozen=True)
class Ran:
    """Result of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture(scope="session")
def cxredge() -> Run:
    return run_command


def run_command(*arguments: object) -> Ran:
    """Run a command in this process."""
    from cxredge.cli import app

    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="session", autouse=True)
def a_key_of_patients_for_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests do not create a key in the configuration of the user who runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(scope="session", autouse=True)
def a_quick_search_in_onnx_runtime_alone() -> Iterator[None]:
    """Builds are short and use ONNX Runtime only, regardless of the installed runtimes."""
    shorten()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cxredge.backends.openvino.is_installed", lambda: False)
        yield


@pytest.fixture
def openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enable OpenVINO for one test; skip the test if it is not installed."""
    if find_spec("openvino") is None:
        pytest.skip("needs the openvino extra")
    monkeypatch.setattr("cxredge.backends.openvino.is_installed", lambda: True)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory, cxredge: Run) -> Path:
    """A folder with ``images/CLASS/`` and ``manifest.csv``, four classes."""
    out = tmp_path_factory.mktemp("phantoms")
    ran = cxredge(
        "data", "phantoms", "--patients", PATIENTS, "--size", SIZE, "--out", out, "--json"
    )
    assert ran.code == 0, ran.err
    return out


@pytest.fixture(scope="session")
def manifest(phantoms: Path) -> Manifest:
    return read_manifest(phantoms / "manifest.csv")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory, manifest: Manifest) -> Path:
    """An FP32 model folder: random convolutions, a head fitted by least squares, no torch."""
    out = tmp_path_factory.mktemp("model") / "fp32"
    write_model(out, manifest, np.random.default_rng(0))
    return out


@pytest.fixture(scope="session")
def calibration(tmp_path_factory: pytest.TempPathFactory, phantoms: Path, cxredge: Run) -> Path:
    out = tmp_path_factory.mktemp("calibration") / "calibration.csv"
    ran = cxredge("calibrate", phantoms / "manifest.csv", "--count", 24, "--out", out)
    assert ran.code == 0, ran.err
    return out


@pytest.fixture(scope="session")
def built(
    tmp_path_factory: pytest.TempPathFactory, model: Path, calibration: Path, cxredge: Run
) -> Path:
    """A bundle for this machine with both precisions. Shared: copy it before changing it."""
    out = tmp_path_factory.mktemp("built") / "bundle"
    ran = cxredge(
        "build", model, "--calibration", calibration, "--out", out,
        "--min-agreement", 0.5, "--max-accuracy-drop", 0.5,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    return out


@pytest.fixture
def careless_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    """INT8 that clips most activations of every layer, so that decisions change."""
    from cxredge.quantization import search

    emit = search.emit

    def clip(
        model: onnx.ModelProto,
        ranges: Ranges,
        dialect: Dialect,
        float_bias: bool = False,
        keep: Collection[str] = (),
        scales: Mapping[str, Any] | None = None,
    ) -> onnx.ModelProto:
        narrow = {name: (low / 3, high / 3) for name, (low, high) in ranges.items()}
        return emit(model, narrow, dialect, float_bias, (), scales)

    monkeypatch.setattr(search, "emit", clip)


@pytest.fixture
def bundle(built: Path, tmp_path: Path) -> Path:
    """A bundle that the test may change."""
    import shutil

    return Path(shutil.copytree(built, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, phantoms: Path, cxredge: Run) -> Path:
    """A short training run of MobileNet V1 on small images."""
    pytest.importorskip("torch", reason="needs the train extra")
    out = tmp_path_factory.mktemp("run") / "run"
    ran = cxredge(
        "train", phantoms / "manifest.csv", "--model", "mobilenet_v1", "--weights", "none",
        "--freeze", "none", "--input-size", SIZE, "--epochs", 2, "--batch-size", 16,
        "--learning-rate", 0.003, "--out", out, "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    return out


def write_model(out: Path, manifest: Manifest, rng: np.random.Generator) -> None:
    """Write a MODEL artifact of a small residual network with a fitted head."""
    graph = _network(rng, len(manifest.classes))
    entries = manifest.of(Split.TRAIN)
    pixels = load_pixels(entries, SIZE)
    labels = np.array([manifest.classes.index(entry.label) for entry in entries])
    _fit_head(graph, pixels, labels, out.parent / "features.onnx")
    classifier = ClassifierSpec("tiny", manifest.classes, SIZE, 0.5, 0.5, PREPROCESSING)
    onnx_graph.write_metadata(graph, classifier, "fp32")
    with atomic_folder(out) as folder:
        onnx.save(graph, folder / "model.onnx")
        write_manifest(folder / "manifest.csv", manifest.entries)
        write_fitted_images(folder, manifest, SIZE)
        parents = {"manifest": sha256_of_file(folder / "manifest.csv")}
        facts = ExportFacts(0.0, (folder / "model.onnx").stat().st_size, 1.0)
        write_card(folder, ExportedCard(classifier, parents, ExportConfig(17), facts))


def _network(rng: np.random.Generator, classes: int, channels: int = 24) -> onnx.ModelProto:
    weights = {
        "scale": np.array(1 / 127.5, np.float32),
        "offset": np.array(-1, np.float32),
        "w1": rng.normal(0, 0.5, (channels, 1, 5, 5)),
        "b1": rng.normal(0, 0.2, channels),
        "w2": rng.normal(0, 0.3, (channels, 1, 3, 3)),
        "b2": rng.normal(0, 0.2, channels),
        "w3": rng.normal(0, 0.2, (channels, channels, 1, 1)),
        "b3": rng.normal(0, 0.2, channels),
        "head": np.zeros((channels, classes)),
        "head_bias": np.zeros(classes),
        "low": np.array(0, np.float32),
        "high": np.array(6, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"], "scale_pixels"),
        helper.make_node("Add", ["scaled", "offset"], ["normal"], "shift_pixels"),
        helper.make_node(
            "Conv", ["normal", "w1", "b1"], ["c1"], "conv1", strides=[2, 2], pads=[2, 2, 2, 2]
        ),
        helper.make_node("Clip", ["c1", "low", "high"], ["r1"], "clip1"),
        helper.make_node(
            "Conv", ["r1", "w2", "b2"], ["c2"], "depthwise", group=channels, pads=[1, 1, 1, 1]
        ),
        helper.make_node("Clip", ["c2", "low", "high"], ["r2"], "clip2"),
        helper.make_node("Conv", ["r2", "w3", "b3"], ["c3"], "pointwise"),
        helper.make_node("Add", ["c3", "r1"], ["sum"], "residual"),
        helper.make_node("Relu", ["sum"], ["r3"], "relu3"),
        helper.make_node("GlobalAveragePool", ["r3"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["features"], "flatten"),
        helper.make_node("Gemm", ["features", "head", "head_bias"], ["logits"], "gemm"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(np.asarray(v, np.float32), n) for n, v in weights.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="test"
    )


def _fit_head(
    graph: onnx.ModelProto, pixels: np.ndarray, labels: np.ndarray, scratch: Path
) -> None:
    """Fit the head so that logits are near 4 for the true class and near 0 for the others."""
    probe = onnx.ModelProto()
    probe.CopyFrom(graph)
    del probe.graph.node[-1:]
    probe.graph.node[-1].output[0] = "logits"
    width = next(i for i in graph.graph.initializer if i.name == "head").dims[0]
    probe.graph.output[0].type.tensor_type.shape.dim[1].dim_value = width
    onnx.save(probe, scratch)
    with open_session(scratch) as session:
        features = session.infer(pixels)
    design = np.hstack([features, np.ones((len(features), 1))])
    targets = 4 * np.eye(labels.max() + 1)[labels]
    ridge = 1e-2 * np.eye(design.shape[1])
    solution = np.linalg.solve(design.T @ design + ridge, design.T @ targets).astype(np.float32)
    for initializer in graph.graph.initializer:
        if initializer.name == "head":
            initializer.CopyFrom(numpy_helper.from_array(solution[:-1], "head"))
        if initializer.name == "head_bias":
            initializer.CopyFrom(numpy_helper.from_array(solution[-1], "head_bias"))
