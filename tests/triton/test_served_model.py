"""The model that takes files, in this process: a stand-in takes the place of Triton's module."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cxredge.bundle import replay
from cxredge.errors import ArtifactError
from cxredge.triton import python_backend
from cxredge.triton.python_backend import TritonPythonModel
from cxredge.triton.served_model import ServedModel, tensors_of
from tests.conftest import Run


@pytest.fixture(scope="module")
def files(phantoms: Path) -> list[bytes]:
    paths = sorted((phantoms / "images").rglob("*.png"))[::4]
    first = paths[0].read_bytes()
    return [*(path.read_bytes() for path in paths), first[:-200], b"no picture", b"", first]


@pytest.fixture(scope="module")
def expected(
    built: Path, files: list[bytes], tmp_path_factory: pytest.TempPathFactory, cxredge: Run
) -> list[dict[str, Any]]:
    """The rows of ``cxredge predict``, without the paths."""
    folder = tmp_path_factory.mktemp("files")
    for number, content in enumerate(files):
        (folder / f"{number:02d}.png").write_bytes(content)
    out = folder / "rows.jsonl"
    assert cxredge("predict", built, folder, "--out", out).code == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == len(files)
    return [{name: row[name] for name in row if name != "path"} for row in rows]


@pytest.fixture(scope="module")
def served(built: Path) -> Iterator[ServedModel]:
    model = ServedModel(built, lambda note: None)
    yield model
    model.close()


def without_name(answer: dict[str, Any]) -> dict[str, Any]:
    """An error names the path, or the number of bytes in a request."""
    return {**answer, "error": bool(answer["error"])}


def test_answers_are_the_rows_of_predict(
    served: ServedModel, files: list[bytes], expected: list[dict[str, Any]]
) -> None:
    found = [json.loads(one) for one in served.answers(files)["answer"][:, 0]]
    assert list(map(without_name, found)) == list(map(without_name, expected))
    statuses = {row["status"] for row in found}
    assert {"ok", "truncated", "unreadable", "empty"} <= statuses


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_batch_does_not_change_an_answer(
    count: int, served: ServedModel, files: list[bytes]
) -> None:
    together = served.answers(files)["answer"][:count]
    assert np.array_equal(served.answers(files[:count])["answer"], together)


def test_tensors_hold_what_the_answer_holds(served: ServedModel, files: list[bytes]) -> None:
    found = served.answers(files)
    assert found["probabilities"].dtype == np.float64
    for number, text in enumerate(found["answer"][:, 0]):
        answer = json.loads(text)
        for name in ("label", "status", "decided_by", "error"):
            assert found[name][number, 0].decode() == answer[name]
        assert found["set"][number, 0].decode() == "|".join(answer["set"] or [])
        stated = [answer[f"p_{name}"] for name in served.classes]
        values = found["probabilities"][number].tolist()
        assert values == [-1 if one is None else one for one in stated]
        familiarity = answer["familiarity"]
        assert found["familiarity"][number, 0] == (-1 if familiarity is None else familiarity)


def test_no_files_have_no_answers(served: ServedModel) -> None:
    assert {name: len(values) for name, values in served.answers([]).items()} == dict.fromkeys(
        tensors_of([], served.classes), 0
    )


def test_a_machine_that_computes_something_else_does_not_serve(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = dict.fromkeys(replay.MAX_PROBABILITY_DIFFERENCE, -1.0)
    monkeypatch.setattr(replay, "MAX_PROBABILITY_DIFFERENCE", limits)
    with pytest.raises(ArtifactError, match="computes different results on this machine"):
        ServedModel(built, lambda note: None)


def test_a_bundle_without_golden_images_is_noted(bundle: Path) -> None:
    (bundle / "golden.npz").unlink()
    (bundle / "passport.json").unlink(missing_ok=True)
    notes: list[str] = []
    ServedModel(bundle, notes.append).close()
    assert any("no golden images" in note for note in notes)
    assert any("was not finished there" in note for note in notes)


class Tensor:
    def __init__(self, name: str, values: np.ndarray) -> None:
        self.name, self.values = name, values

    def as_numpy(self) -> np.ndarray:
        return self.values


def response(output_tensors: list[Tensor], error: str | None = None) -> Any:
    return SimpleNamespace(tensors={one.name: one.values for one in output_tensors}, error=error)


def request(*files: bytes) -> Any:
    values = np.empty((len(files), 1), dtype=object)
    values[:, 0] = files
    return SimpleNamespace(image=Tensor("image", values))


@pytest.fixture
def triton(monkeypatch: pytest.MonkeyPatch) -> Any:
    module: Any = ModuleType("triton_python_backend_utils")
    module.Tensor, module.InferenceResponse, module.TritonError = Tensor, response, str
    module.logged = []
    module.Logger = SimpleNamespace(log_warn=module.logged.append)
    module.get_input_tensor_by_name = lambda found, name: getattr(found, name)
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", module)
    monkeypatch.delenv("TRITON_SERVER_VERSION", raising=False)
    return module


@pytest.fixture
def instance(triton: Any, built: Path, tmp_path: Path) -> Iterator[TritonPythonModel]:
    (tmp_path / "cxr" / "3").mkdir(parents=True)
    (tmp_path / "cxr" / "3" / "bundle").symlink_to(built)
    model = TritonPythonModel()
    model.initialize({"model_repository": str(tmp_path / "cxr"), "model_version": "3"})
    yield model
    model.finalize()


def test_each_request_gets_its_own_answers(
    instance: TritonPythonModel, files: list[bytes], expected: list[dict[str, Any]]
) -> None:
    found = instance.execute([request(*files[:3]), request(files[3]), request(*files[4:])])
    sizes = [len(one.tensors["answer"]) for one in found]
    assert sizes == [3, 1, len(files) - 4]
    labels = [label.decode() for one in found for label in one.tensors["label"][:, 0]]
    assert labels == [row["label"] for row in expected]


def test_one_file_does_not_fail_the_others(
    instance: TritonPythonModel, files: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxredge.inference import pipeline

    load = pipeline.load_xray

    def fail(source: bytes, *more: Any) -> Any:
        if source == b"poison":
            raise RuntimeError("the patient's name")
        return load(source, *more)

    monkeypatch.setattr(pipeline, "load_xray", fail)
    good, bad = instance.execute([request(files[0]), request(b"poison")])
    assert good.error is None
    assert good.tensors["status"][0, 0] == b"ok"
    assert bad.error == "Internal error: RuntimeError"


def test_a_damaged_bundle_is_not_served(triton: Any, bundle: Path, tmp_path: Path) -> None:
    (bundle / "model-fp32.onnx").write_bytes(b"other")
    (tmp_path / "cxr" / "1").mkdir(parents=True)
    bundle.rename(tmp_path / "cxr" / "1" / "bundle")
    with pytest.raises(RuntimeError, match="is damaged"):
        TritonPythonModel().initialize(
            {"model_repository": str(tmp_path / "cxr"), "model_version": "1"}
        )


@pytest.mark.parametrize(
    ("server", "numpy", "refused"),
    [("2.52.0", "2.4.6", True), ("2.52.0", "1.26.4", False), ("2.53.0", "2.4.6", False)],
)
def test_old_servers_require_numpy_1(
    server: str, numpy: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_SERVER_VERSION", server)
    monkeypatch.setattr(python_backend.np, "__version__", numpy)
    if not refused:
        python_backend._check_numpy()
        return
    with pytest.raises(Exception, match="pip install 'numpy<2'"):
        python_backend._check_numpy()
