from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from cxredge.artifacts.card import read_artifact, read_card  # noqa: E402
from cxredge.artifacts.model_card import ExportedCard  # noqa: E402
from cxredge.artifacts.run_card import RunCard  # noqa: E402
from cxredge.backends.batched import infer_file  # noqa: E402
from cxredge.data.images import PREPROCESSING  # noqa: E402
from cxredge.errors import CxredgeError  # noqa: E402
from cxredge.export import export as export_module  # noqa: E402
from cxredge.export.export import export, parity_images  # noqa: E402
from cxredge.export.trace import GreyClassifier  # noqa: E402
from cxredge.models import build_model  # noqa: E402
from cxredge.models.zoo import ZOO  # noqa: E402
from cxredge.progress import Silent  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def exported(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "model"
    export(read_artifact(run_folder, RunCard), out, Silent())
    return out


@pytest.mark.parametrize("name", ZOO)
def test_summed_input_channels_are_exact(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(name, 4).eval()
    torch.nn.init.normal_(model.head.weight)
    images = torch.from_numpy(parity_images(96 if name == "inception_v3" else 64))
    with torch.no_grad():
        colour = ((images.float() / 255 - 0.449) / 0.226).expand(-1, 3, -1, -1)
        expected = model(colour)
        grey = GreyClassifier(model, 0.449, 0.226).eval()(images)
    # Random residual networks have logits in the thousands; rounding errors scale with them.
    assert (grey - expected).abs().max() < 1e-5 * max(10, expected.abs().max())


def test_the_graph_accepts_uint8_batches_of_any_size(exported: Path) -> None:
    graph = onnx.load(exported / "model.onnx").graph
    image, logits = graph.input[0], graph.output[0]
    assert (image.name, logits.name) == ("image", "logits")
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    dims = [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim]
    assert dims == ["batch", 1, 64, 64]
    assert logits.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    pixels = parity_images(64)[:, 0]
    whole = infer_file(exported / "model.onnx", pixels)
    for count in (1, 3, 7):
        part = infer_file(exported / "model.onnx", pixels[:count])
        assert np.allclose(part, whole[:count], atol=1e-5)


def test_the_graph_is_simplified(exported: Path) -> None:
    model = onnx.load(exported / "model.onnx")
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds == {
        "Cast": 1, "Mul": 1, "Add": 1, "Conv": 27, "Clip": 27, "GlobalAveragePool": 1,
        "Flatten": 1, "Gemm": 1,
    }  # fmt: skip
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]


def test_the_file_is_self_describing(exported: Path) -> None:
    properties = {p.key: p.value for p in onnx.load(exported / "model.onnx").metadata_props}
    facts = json.loads(properties["cxredge"])
    assert facts["classes"] == ["bacterial", "covid19", "normal", "viral"]
    assert facts["preprocessing"] == PREPROCESSING
    assert "Research use only" in properties["notice"]


def test_same_run_same_bytes(run_folder: Path, exported: Path, tmp_path: Path) -> None:
    again = export(read_artifact(run_folder, RunCard), tmp_path / "again", Silent())
    assert again.files["model.onnx"] == read_card(exported, ExportedCard).files["model.onnx"]


def test_an_unchanged_model_is_not_exported_again(
    run_folder: Path, exported: Path, monkeypatch
) -> None:
    monkeypatch.setattr(export_module, "to_onnx", lambda *_: pytest.fail("exported again"))
    run = read_artifact(run_folder, RunCard)
    assert export(run, exported, Silent()) == read_card(exported, ExportedCard)


def test_a_model_that_differs_is_not_written(run_folder: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(export_module, "_parity", lambda *_: 2e-4)
    with pytest.raises(CxredgeError, match=r"differs from torch by 0\.0002"):
        export(read_artifact(run_folder, RunCard), tmp_path / "model", Silent())
    assert list(tmp_path.iterdir()) == []


def test_parity_detects_a_difference(run_folder: Path, exported: Path) -> None:
    images = parity_images(64)
    true = infer_file(exported / "model.onnx", images[:, 0])
    assert export_module._parity(exported / "model.onnx", images, true) < 1e-5
    true[-1, -1] += 0.5
    assert export_module._parity(exported / "model.onnx", images, true) > 0.49
