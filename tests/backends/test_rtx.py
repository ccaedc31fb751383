"""The builder of TensorRT for RTX, which needs no GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from cxredge.artifacts.hashing import sha256_of_file
from cxredge.backends.cuda.driver import Gpu, find_gpu
from cxredge.backends.tensorrt.api import Flavour, load_api
from cxredge.backends.tensorrt.builder import build_engine
from cxredge.backends.tensorrt.configure import served_capabilities
from cxredge.backends.tensorrt.engine_file import read_engine_file
from cxredge.backends.tensorrt.explain import explain
from cxredge.backends.tensorrt.facts import EngineFacts, read_facts
from cxredge.backends.tensorrt.log import capture_log
from cxredge.backends.tensorrt.mismatch import Installation, explain_mismatch
from cxredge.backends.tensorrt.session import TensorRTSession
from cxredge.backends.tensorrt.settings import EngineConfig
from cxredge.bundle.bundle import open_bundle
from cxredge.data.loading import load_pixels
from cxredge.data.manifest import Manifest
from cxredge.errors import ArtifactError, CxredgeError, DependencyError
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.ranges.measure import measure_ranges
from cxredge.targets import registry
from cxredge.vocabulary import Dialect, Precision, Split
from tests.conftest import Run

pytest.importorskip("tensorrt_rtx", reason="needs the rtx extra")
FOR_8_6 = {"flavour": Flavour.RTX, "compute_capability": "8.6"}


def build(path: Path, plan: Path, precision: Precision, **more) -> EngineFacts:
    return build_engine(path, plan, EngineConfig(precision, **FOR_8_6, **more))


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16, Precision.INT8])
def test_a_small_network_is_built(
    precision: Precision, fp32: Path, fp16: Path, int8: Path, tmp_path: Path
) -> None:
    path = {Precision.FP32: fp32, Precision.FP16: fp16, Precision.INT8: int8}[precision]
    plan = tmp_path / "m.plan"
    facts = build(
        path, plan, precision, batches=(1, 8), workspace_mb=64, optimization_level=2,
        timing_cache_folders=(tmp_path / "timings",),
    )  # fmt: skip
    assert facts.plan_sha256 == sha256_of_file(plan)
    assert facts.warnings == ()
    formats = facts.network_formats
    convolutions = 3
    if precision is Precision.FP32:
        assert set(formats) == {"float", "int64"}
    if precision is Precision.FP16:
        assert formats["half"] > 8
        assert formats["float"] == 1
    if precision is Precision.INT8:
        assert formats["int8"] >= 2 * convolutions, "weights and inputs"
    header = read_engine_file(plan).header
    assert (header.flavour, header.version) == (Flavour.RTX, load_api(Flavour.RTX).version)


def test_misread_zero_points_are_refused(int8: Path, tmp_path: Path) -> None:
    """TensorRT only warns about a uint8 zero point, and then computes with other ranges."""
    model = onnx.load(int8)
    changed = 0
    for initializer in model.graph.initializer:
        values = numpy_helper.to_array(initializer)
        if values.dtype == np.int8 and values.ndim == 0:
            initializer.CopyFrom(numpy_helper.from_array(values.astype(np.uint8), initializer.name))
            changed += 1
    assert changed
    onnx.save(model, tmp_path / "uint8.onnx")
    with pytest.raises(ArtifactError, match="zero point 0") as why:
        build(tmp_path / "uint8.onnx", tmp_path / "m.plan", Precision.INT8)
    assert "--dialect tensorrt" in why.value.hint
    assert not (tmp_path / "m.plan").exists()


def test_concurrent_builders_share_a_logger(fp32: Path, tmp_path: Path) -> None:
    """TensorRT warns about a second logger, and sends it only some of the messages."""
    api = load_api(Flavour.RTX)
    older = api.trt.Builder(capture_log(api)[0])
    assert build(fp32, tmp_path / "m.plan", Precision.FP32).warnings == ()
    del older


def test_the_dialect_of_processors_is_refused(
    fp32: Path, manifest: Manifest, tmp_path: Path
) -> None:
    graph = onnx.load(fp32)
    pixels = load_pixels(manifest.of(Split.TRAIN)[:8], 64)
    path = tmp_path / "cpu.onnx"
    onnx.save(emit(graph, measure_ranges(graph, pixels, lambda _: None), Dialect.CPU), path)
    with pytest.raises(
        ArtifactError,
        match=r"cannot build m\.plan; it rejects node 'normal_Quant\w+'.*: activations are not "
        "symmetric int8",
    ) as why:
        build(path, tmp_path / "m.plan", Precision.INT8)
    assert "--dialect tensorrt" in why.value.hint


def test_a_node_without_a_layer_is_named(fp32: Path, tmp_path: Path) -> None:
    model = onnx.load(fp32)
    (relu,) = [node for node in model.graph.node if node.op_type == "Relu"]
    relu.op_type = "Det"
    onnx.save(model, tmp_path / "det.onnx")
    with pytest.raises(
        ArtifactError, match=r"node 'relu3' \(Det\): it has no layer for this"
    ) as why:
        build(tmp_path / "det.onnx", tmp_path / "m.plan", Precision.FP32)
    assert "--target cpu-arm" in why.value.hint


def test_an_unsupported_gpu_is_refused(fp32: Path, tmp_path: Path) -> None:
    with pytest.raises(
        CxredgeError, match=r"does not support compute capability 8\.7; it supports"
    ):
        build_engine(
            fp32,
            tmp_path / "m.plan",
            EngineConfig(Precision.FP32, flavour=Flavour.RTX, compute_capability="8.7"),
        )


@pytest.mark.skipif(find_gpu() is not None, reason="there is a GPU")
class TestWithoutADriver:
    def test_building_for_this_machine_is_refused(self, fp32: Path, tmp_path: Path) -> None:
        with pytest.raises(DependencyError, match="no NVIDIA driver"):
            build_engine(
                fp32, tmp_path / "m.plan", EngineConfig(Precision.FP32, flavour=Flavour.RTX)
            )

    def test_running_is_refused_before_loading(self, fp32: Path, tmp_path) -> None:
        build(fp32, tmp_path / "m.plan", Precision.FP32)
        with pytest.raises(DependencyError, match=r"m\.plan needs an NVIDIA GPU"):
            TensorRTSession(tmp_path / "m.plan")

    def test_errors_of_the_real_runtime_are_explained(self, fp32: Path, tmp_path: Path) -> None:
        build(fp32, tmp_path / "m.plan", Precision.FP32)
        api = load_api(Flavour.RTX)
        logger, log = capture_log(api)
        runtime = api.trt.Runtime(logger)
        assert runtime.deserialize_cuda_engine((tmp_path / "m.plan").read_bytes()) is None
        error = explain("It cannot load m.plan", log)
        assert isinstance(error, DependencyError)
        assert "no usable NVIDIA driver or GPU" in error.message

    def test_inspect_explains(self, fp32: Path, tmp_path: Path, cxredge: Run) -> None:
        build(fp32, tmp_path / "m.plan", Precision.FP32)
        found = cxredge("inspect", tmp_path / "m.plan", "--json").json
        assert found["product"] == "TensorRT for RTX"
        assert found["fits_here"] is False
        assert found["why_not"] == "m.plan needs an NVIDIA GPU, and none is usable here."
        assert [(one["target"], one["extent"]) for one in found["tried"]] == [("rtx", "built")]


def test_a_plan_is_bound_to_its_compute_capability(fp32: Path, tmp_path: Path) -> None:
    build(fp32, tmp_path / "m.plan", Precision.FP32)
    plan = read_engine_file(tmp_path / "m.plan")
    versions = {Flavour.RTX: load_api(Flavour.RTX).version}
    fitting = Gpu("NVIDIA GeForce RTX 3060", "8.6", 12000, "13.0", integrated=False)
    other = Gpu("NVIDIA GeForce RTX 4060", "8.9", 8000, "13.0", integrated=False)
    assert explain_mismatch(plan, Installation(versions, fitting)) is None
    assert "built for compute capability 8.6" in str(
        explain_mismatch(plan, Installation(versions, other))
    )


def test_a_bundle_with_engines_is_built_without_a_gpu(
    model: Path, calibration: Path, tmp_path: Path, cxredge: Run, monkeypatch
) -> None:
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    monkeypatch.setattr(registry, "this_machine", lambda: "x86_64")
    out = tmp_path / "bundle"
    ran = cxredge(
        "build", model, "--target", "rtx", "--calibration", calibration, "--effort", "quick",
        "--min-agreement", 0.5, "--max-accuracy-drop", 0.5, "--batch", "1,4",
        "--compute-capability", "7.5,12.0", "--out", out, "--archive", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    found = ran.json
    assert (found["backend"], found["trtexec"]) == ("tensorrt-rtx", {})
    # Layers between INT8 ones are FP16; otherwise the classifier would be an FP32 matrix product.
    assert {engine["file"] for engine in found["engines"]} == {
        "model-fp16-sm75.plan", "model-int8-sm75.plan", "model-fp32-sm120.plan",
        "model-fp16-sm120.plan", "model-int8-sm120.plan",
    }  # fmt: skip
    (why,) = found["engines_left_out"].values()
    assert set(found["engines_left_out"]) == {"model-fp32-sm75.plan"}
    assert "node 'gemm' has no kernel on Turing GPUs (SM 75): FP32 GEMM is not supported" in why
    facts = read_facts(out / "model-int8-sm120.plan")
    assert facts is not None
    assert facts.profiles == ((1, 1, 1), (2, 4, 4))
    assert [words for words in facts.warnings if "scales to fp32" not in words] == []
    assert facts.parents["onnx"] == open_bundle(out).card.files["model-int8-fp16.onnx"]
    assert facts.network_formats["half"] > 0
    assert facts.network_formats["int8"] == sum(
        node.op_type == "QuantizeLinear" for node in onnx.load(out / "model-int8.onnx").graph.node
    )
    after_a_refusal, alone = read_facts(out / "model-fp32-sm120.plan"), tmp_path / "alone.plan"
    settings = EngineConfig(
        Precision.FP32, flavour=Flavour.RTX, compute_capability="12.0", batches=(1, 4)
    )
    clean = build_engine(out / "model-fp32.onnx", alone, settings)
    assert after_a_refusal is not None
    assert after_a_refusal.size_bytes < 1.1 * clean.size_bytes, "nothing of the refused engine"
    described = cxredge("inspect", out / "model-int8-sm120.plan", "--json").json
    assert described["product"] == "TensorRT for RTX"
    assert described["tried"][0]["target"] == "rtx"
    assert cxredge("verify", out.with_name("bundle.tar")).code == 0
    again = cxredge(
        "build", model, "--target", "rtx", "--compute-capability", "8.6,8.7", "--out", out
    )
    assert again.code == 2
    assert (
        "does not support compute capability 8.7; it supports 7.5, 8.0, 8.6, 8.9, 12.0" in again.err
    )


def test_the_target_lists_the_builder_s_capabilities_that_nvidia_supports() -> None:
    """The builder makes engines for 8.0, which NVIDIA's support matrices do not name."""
    listed = registry.find_target("rtx").hardware.compute_capabilities
    built = served_capabilities(load_api(Flavour.RTX))
    assert [one for one in built if one != "8.0"] == list(listed)
    assert "8.0" in built
