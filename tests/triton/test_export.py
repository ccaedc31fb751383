"""``cxredge export-triton``: what it writes, adds and refuses."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cxredge.backends.tensorrt.facts import EngineFacts
from cxredge.bundle.bundle import Bundle, open_bundle
from cxredge.cli import export_triton as command
from cxredge.errors import CxredgeError, DependencyError, GateRefused
from cxredge.gate.gate import GateResult
from cxredge.progress import Silent
from cxredge.triton import check, model_config, network, version_files
from cxredge.triton.export import export_triton
from cxredge.triton.model_config import check_same_contract, network_config
from cxredge.triton.network import network_of
from cxredge.triton.options import TritonOptions
from cxredge.vocabulary import Precision, TritonBackend, TritonDevice
from tests.conftest import SIZE, Run

CLASSES = ("bacterial", "covid19", "normal", "viral")


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def config(protobuf: Any, repository: Path, model: str) -> Any:
    from google.protobuf import text_format

    text = (repository / model / "config.pbtxt").read_text()
    return text_format.Parse(text, protobuf.ModelConfig())


def test_packages_that_are_not_installed_are_not_pinned() -> None:
    assert version_files._installed("no-such-package") is None


def test_the_bare_network(protobuf: Any, repository: Path) -> None:
    found = config(protobuf, repository, "cxr_network")
    assert (found.backend, found.max_batch_size) == ("onnxruntime", 16)
    assert list(found.input[0].dims) == [1, SIZE, SIZE]
    outputs = {one.name: one for one in found.output}
    assert list(outputs["logits"].dims) == [4]
    assert outputs["logits"].label_filename == "labels.txt"
    assert outputs["distance"].HasField("reshape")
    assert found.HasField("dynamic_batching")
    assert [one.batch_size for one in found.model_warmup] == [1, 16]
    assert found.version_policy.latest.num_versions == 1
    labels = (repository / "cxr_network" / "labels.txt").read_text().split()
    assert tuple(labels) == CLASSES


def test_the_model_that_takes_files(protobuf: Any, repository: Path) -> None:
    found = config(protobuf, repository, "cxr")
    assert found.backend == "python"
    assert found.input[0].data_type == protobuf.TYPE_STRING
    assert [one.name for one in found.output] == list(model_config.CXR_OUTPUTS)
    version = repository / "cxr" / "1"
    record = json.loads((version / "cxredge.json").read_text())
    jsonschema = pytest.importorskip("jsonschema", reason="needs the dev extra")
    schema = Path(__file__).parents[2] / "docs" / "schemas" / "triton-export.json"
    jsonschema.Draft202012Validator(json.loads(schema.read_text())).validate(record)
    assert record["files"] == {k: v for k, v in hashes(version).items() if k != "cxredge.json"}
    assert (version / "code" / "cxredge" / "triton" / "python_backend.py").is_file()
    assert not list(version.rglob("__pycache__"))
    requirements = (version / "requirements.txt").read_text()
    assert "onnxruntime==" in requirements
    assert "pillow==" in requirements


def test_json_says_what_was_written(
    built: Path, tmp_path: Path, protobuf: Any, cxredge: Run
) -> None:
    ran = cxredge("export-triton", built, "--out", tmp_path / "r", "--json")
    assert ran.code == 0, ran.err
    bundle = open_bundle(built)
    assert ran.json["version"] == 1
    found = ran.json["models"]["cxr_network"]
    assert found["precision"] == bundle.precision.value
    assert found["checked_images"] == 12
    assert found["outputs"]["logits"] == [4]
    assert ran.json["classes"] == list(CLASSES)


def test_the_next_step_starts_a_server(
    built: Path, tmp_path: Path, protobuf: Any, cxredge: Run
) -> None:
    ran = cxredge("export-triton", built, "--out", tmp_path / "r", "--no-images")
    assert "docker run --rm --shm-size=1g -e ORT_DISABLE_TELEMETRY=1" in ran.err
    assert f"-v {tmp_path / 'r'}:/models" in ran.err
    assert "bit for bit" in ran.out
    again = cxredge("export-triton", built, "--out", tmp_path / "r", "--no-images", "--version", 1)
    assert again.out.splitlines()[-1].startswith("Unchanged: version 1")
    assert not (tmp_path / "r" / "cxr" / "1" / "bundle" / "golden.npz").exists()


def test_the_same_bundle_gives_the_same_bytes(
    repository: Path, built: Path, tmp_path: Path
) -> None:
    export_triton(open_bundle(built), tmp_path / "again", TritonOptions(), Silent())
    assert hashes(tmp_path / "again") == hashes(repository)


def test_a_repository_is_not_overwritten(repository: Path, built: Path, cxredge: Run) -> None:
    before = hashes(repository)
    ran = cxredge("export-triton", built, "--out", repository, "--json")
    assert ran.code == 1
    assert ran.json["hint"].startswith("Add a version: --version 2.")
    assert hashes(repository) == before


@pytest.mark.parametrize("name", ["run", "notes.txt"])
def test_other_folders_are_not_overwritten(
    name: str, built: Path, tmp_path: Path, protobuf: Any, cxredge: Run
) -> None:
    out = tmp_path / name
    if name == "run":
        shutil.copytree(built, out)
    else:
        out.write_text("notes")
    before = hashes(tmp_path)
    ran = cxredge("export-triton", built, "--out", out)
    assert ran.code == 1
    assert "Choose another --out" in ran.err
    assert hashes(tmp_path) == before


@pytest.fixture
def copy(repository: Path, tmp_path: Path) -> Path:
    """A repository that the test may change."""
    return Path(shutil.copytree(repository, tmp_path / "copy"))


def test_a_version_is_added_once(copy: Path, built: Path, cxredge: Run) -> None:
    edited = (copy / "cxr_network" / "config.pbtxt").read_text().replace("count: 1", "count: 3")
    (copy / "cxr_network" / "config.pbtxt").write_text(edited)
    first = hashes(copy)
    ran = cxredge("export-triton", built, "--out", copy, "--version", 2)
    assert ran.code == 0, ran.err
    assert "v2/repository/models/cxr/load" in ran.err
    after = hashes(copy)
    assert {name: after[name] for name in first} == first
    assert {name.split("/")[1] for name in after.keys() - first.keys()} == {"2"}
    # As if the process had been killed between the two models.
    shutil.rmtree(copy / "cxr" / "2")
    again = cxredge("export-triton", built, "--out", copy, "--version", 2, "--json")
    assert not again.json["up_to_date"]
    assert hashes(copy) == after
    serves_int8 = open_bundle(built).precision is Precision.INT8
    precision = ("--precision", "fp32" if serves_int8 else "int8")
    other = cxredge("export-triton", built, "--out", copy, "--version", 2, *precision, "--json")
    assert other.code == 1
    assert other.json["error"].endswith("exists and holds something else.")
    assert not [path for path in copy.rglob("*") if path.name.endswith(".partial")]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("max_batch_size: 16", "max_batch_size: 8", "its max_batch_size would be 16"),
        ('backend: "onnxruntime"', 'backend: "openvino"', "its backend would be onnxruntime"),
        (f"dims: {SIZE}", "dims: 224", "its input would be"),
        ("max_batch_size", "max_batch_sise", "is not a configuration of Triton"),
    ],
)
def test_versions_share_one_contract(
    old: str, new: str, told: str, copy: Path, built: Path, cxredge: Run
) -> None:
    path = copy / "cxr_network" / "config.pbtxt"
    path.write_text(path.read_text().replace(old, new))
    ran = cxredge("export-triton", built, "--out", copy, "--version", 2)
    assert ran.code == 1
    assert told in ran.err
    assert not (copy / "cxr_network" / "2").exists()


def test_versions_share_the_classes(copy: Path, built: Path, cxredge: Run) -> None:
    (copy / "cxr" / "labels.txt").write_text("a\nb\nc\nd\n")
    ran = cxredge("export-triton", built, "--out", copy, "--version", 2)
    assert ran.code == 1
    assert "The classes of the new version are not those of" in ran.err


def test_a_version_needs_a_repository(
    built: Path, tmp_path: Path, protobuf: Any, cxredge: Run
) -> None:
    ran = cxredge("export-triton", built, "--out", tmp_path / "none", "--version", 2)
    assert ran.code == 1
    assert "has no model cxr_network" in ran.err
    assert not (tmp_path / "none").exists()


def test_a_network_that_computes_something_else_is_not_written(
    built: Path, tmp_path: Path, protobuf: Any, cxredge: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = check._run_with_default_options

    def saturated(*arguments: Any) -> dict[str, Any]:
        return {name: values + np.float32(1e-3) for name, values in run(*arguments).items()}

    monkeypatch.setattr(check, "_run_with_default_options", saturated)
    ran = cxredge("export-triton", built, "--out", tmp_path / "r")
    assert ran.code == 1
    assert "computes another 'logits'" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_without_golden_images_the_network_is_compared_on_phantoms(
    int8_bundle: Bundle, tmp_path: Path
) -> None:
    (int8_bundle.path / "golden.npz").unlink()
    found = network_of(int8_bundle, TritonOptions())
    found.write(tmp_path)
    assert check.check_network(int8_bundle, found, tmp_path) == 4


def test_without_the_client_library_the_extra_is_named(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cxredge: Run
) -> None:
    monkeypatch.setitem(sys.modules, "tritonclient", None)
    monkeypatch.delitem(sys.modules, "tritonclient.grpc", raising=False)
    ran = cxredge("export-triton", built, "--out", tmp_path / "r")
    assert ran.code == 1
    assert "pip install 'cxredge[triton]'" in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--name", "a/b"), "not a valid name"),
        (("--backend", "tensorrt"), "has no TensorRT engine of int8"),
        (("--backend", "openvino", "--device", "gpu"), "does not run on a gpu"),
        (("--device", "gpu"), "no INT8 kernels for a GPU"),
        (("--device", "gpu", "--precision", "fp32", "--threads", 2), "--threads is for"),
        (("--precision", "fp16"), "has no fp16; it has fp32, int8"),
    ],
)
def test_what_triton_cannot_run_is_refused(
    options: tuple[object, ...], told: str, int8_bundle: Bundle, tmp_path: Path, cxredge: Run
) -> None:
    ran = cxredge("export-triton", int8_bundle.path, "--out", tmp_path / "r", *options)
    assert ran.code in (1, 2)
    assert told in ran.err
    assert not (tmp_path / "r").exists()


@pytest.fixture
def int8_bundle(bundle: Path) -> Bundle:
    """The bundle without its passport: the precision that serves does not depend on timing."""
    (bundle / "passport.json").unlink(missing_ok=True)
    opened = open_bundle(bundle)
    assert opened.precision is Precision.INT8
    return opened


def settings(protobuf: Any, bundle: Bundle, options: TritonOptions) -> Any:
    from google.protobuf import text_format

    text = network_config(network_of(bundle, options), SIZE, options)
    return text_format.Parse(text, protobuf.ModelConfig())


def test_fp32_on_a_gpu_does_not_become_tf32(protobuf: Any, int8_bundle: Bundle) -> None:
    options = TritonOptions(precision=Precision.FP32, device=TritonDevice.GPU)
    found = settings(protobuf, int8_bundle, options)
    assert found.instance_group[0].kind == protobuf.ModelInstanceGroup.KIND_GPU
    (cuda,) = found.optimization.execution_accelerators.gpu_execution_accelerator
    assert (cuda.name, dict(cuda.parameters)) == ("cuda", {"use_tf32": "0"})


def test_openvino_loads_the_onnx_file(protobuf: Any, int8_bundle: Bundle) -> None:
    options = TritonOptions(backend=TritonBackend.OPENVINO, threads=2, instances=3)
    found = settings(protobuf, int8_bundle, options)
    assert (found.backend, found.default_model_filename) == ("openvino", "model.onnx")
    values = {name: value.string_value for name, value in found.parameters.items()}
    assert values == {"NUM_STREAMS": "3", "INFERENCE_NUM_THREADS": "6"}
    hinted = replace(network_of(int8_bundle, options), precision=Precision.BF16, threads=0)
    assert "HINT_BF16" in network_config(hinted, SIZE, options)


def engine(int8_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A bundle with an engine for compute capability 8.7, as far as its facts say."""
    facts = EngineFacts.__new__(EngineFacts)
    profiles = ((1, 1, 1), (2, 8, 12))
    for name, value in {
        "compute_capability": "8.7", "profiles": profiles, "version": "10.3.0",
    }.items():  # fmt: skip
        object.__setattr__(facts, name, value)
    monkeypatch.setattr(network, "read_facts", lambda plan: facts)
    for precision in (Precision.INT8, Precision.FP32):
        (int8_bundle.path / f"model-{precision.value}.plan").write_bytes(b"plan")
    return replace(int8_bundle, backend="tensorrt")


def test_an_engine_serves_its_compute_capability_only(
    protobuf: Any, int8_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = engine(int8_bundle, monkeypatch)
    found = settings(protobuf, bundle, TritonOptions())
    assert found.backend == "tensorrt"
    assert dict(found.cc_model_filenames) == {"8.7": "model-sm87.plan"}
    assert not found.default_model_filename
    assert found.max_batch_size == 12
    assert list(found.dynamic_batching.preferred_batch_size) == [1, 8]
    (group,) = found.instance_group
    assert (group.kind, list(group.profile)) == (protobuf.ModelInstanceGroup.KIND_GPU, ["0", "1"])
    network_of(bundle, TritonOptions()).write(tmp_path)
    assert (tmp_path / "model-sm87.plan").read_bytes() == b"plan"


def test_the_summary_names_what_an_engine_requires(
    protobuf: Any, int8_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = engine(int8_bundle, monkeypatch)
    passport = SimpleNamespace(throughput=None)
    bundle = replace(bundle, passport=passport)  # type: ignore[arg-type]
    done = export_triton(bundle, tmp_path / "r", TritonOptions(), Silent())
    assert done.checked_images is None
    served = {path.name for path in (tmp_path / "r" / "cxr" / "1" / "bundle").iterdir()}
    assert {"model-int8.plan", "model-fp32.plan"} <= served
    text = command._text(done, "cxr", "cxr_network")
    assert "requires TensorRT 10.3.0 and compute capability 8.7" in text
    assert "not compared here" in text
    assert "--gpus all" in command._run(tmp_path / "r", "cxr", done)


def test_engines_of_tensorrt_for_rtx_are_not_triton_s(int8_bundle: Bundle) -> None:
    with pytest.raises(CxredgeError, match="whose engines no backend of Triton loads"):
        network_of(replace(int8_bundle, backend="tensorrt-rtx"), TritonOptions())


def test_a_precision_without_its_file_is_refused(int8_bundle: Bundle) -> None:
    gates = {
        **int8_bundle.card.facts.gate,
        Precision.FP16: int8_bundle.card.facts.gate[Precision.INT8],
    }
    facts = replace(
        int8_bundle.card.facts,
        gate=gates,
        thresholds={**int8_bundle.card.facts.thresholds, Precision.FP16: {}},
    )
    card = object.__new__(type(int8_bundle.card))
    for name in ("classifier", "parents", "config", "tools", "files"):
        object.__setattr__(card, name, getattr(int8_bundle.card, name))
    object.__setattr__(card, "facts", facts)
    with pytest.raises(CxredgeError, match="has no ONNX file in fp16"):
        network_of(replace(int8_bundle, card=card), TritonOptions(precision=Precision.FP16))


def test_what_did_not_pass_the_gate_is_not_exported(
    int8_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GateResult, "passed", property(lambda gate: False))
    with pytest.raises(GateRefused, match="int8 did not pass the gate"):
        network_of(int8_bundle, TritonOptions())


def test_a_misspelt_field_is_refused(protobuf: Any, tmp_path: Path) -> None:
    path = tmp_path / "config.pbtxt"
    path.write_text('backend: "python"\nmax_batch: 3\n')
    with pytest.raises(CxredgeError, match="is not a configuration of Triton"):
        check_same_contract('backend: "python"', path)


def test_a_client_without_grpc_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError("The installation does not include grpc support.")

    monkeypatch.setitem(sys.modules, "tritonclient.grpc", Broken())
    with pytest.raises(DependencyError, match="with gRPC"):
        model_config._protobuf()
