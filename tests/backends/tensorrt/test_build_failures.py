"""Failed builds: a message with the reason, and no file left behind."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from cxredge.backends.tensorrt.builder import build_engine
from cxredge.backends.tensorrt.settings import EngineConfig
from cxredge.errors import ArtifactError, CxredgeError, DependencyError
from cxredge.vocabulary import Precision
from tests.backends.conftest import Fake
from tests.backends.fake_cuda import FakeGpu


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0"])
def test_a_rejected_node_is_named(version: str, fake: Fake, fp32: Path, tmp_path: Path) -> None:
    world = fake(version)
    world.parser_says = [(8, "No importer registered for op: Einsum")]
    with pytest.raises(ArtifactError, match=r"'residual' \(Add\): .*operator Einsum") as why:
        build_engine(fp32, tmp_path / "m.plan", EngineConfig(Precision.FP32))
    assert "--target cpu-arm" in why.value.hint
    world.parser_says = [(8, "false")]
    world.parser_code = "UNSUPPORTED_NODE_SHAPE"
    with pytest.raises(ArtifactError, match=r"'residual' \(Add\): .* not with this shape"):
        build_engine(fp32, tmp_path / "m.plan", EngineConfig(Precision.FP32))


def test_quantized_files_are_for_int8_only(fake: Fake, fp32: Path, int8: Path, tmp_path) -> None:
    fake("10.3.0")
    for path, precision in ((int8, Precision.FP16), (fp32, Precision.INT8)):
        with pytest.raises(ArtifactError, match=r"and (fp16|int8) requires (an|the) ONNX"):
            build_engine(path, tmp_path / "m.plan", EngineConfig(precision))


LOG_LINES = [
    ("ERROR", "Requested amount of GPU memory (1 bytes) could not be allocated", "too little mem"),
    ("ERROR", "[x] Error Code 2: OutOfMemory (no further information)", "too little memory"),
    ("ERROR", "Error Code 10: Could not find any implementation for node conv1 + clip1.",
     "no kernel fits node conv1 . clip1"),
    ("ERROR", "input has type Int32 but must have type FP8, FP4, Int4, Int8, or UInt8",
     "a bias is quantized"),
    ("WARNING", "Skipping tactic due to insufficient memory on requested size of 100",
     "too little memory"),
    ("ERROR", "[pass.cpp:337: check_turing_op_compatibility] Cannot compile operation '/head/Gemm' "
     "for Turing (SM75): FP32 GEMM is not supported. In compileGraph at x.cpp:2012",
     "node '/head/Gemm' has no kernel on Turing GPUs .SM 75.: FP32 GEMM is not supported"),
    ("ERROR", "Target GPU SM 70 is not supported by this TensorRT release.",
     "not support this GPU"),
    ("ERROR", "Error Code 1: Cuda Runtime (no kernel image is available for execution on the "
     "device)", "not support this GPU"),
    ("ERROR", "Something new went wrong.", "Something new went wrong"),
]  # fmt: skip


@pytest.mark.parametrize(("severity", "text", "message"), LOG_LINES)
def test_a_failed_build_is_explained(
    severity: str, text: str, message: str, fake: Fake, fp32: Path, tmp_path: Path
) -> None:
    world = fake("10.3.0")
    world.build_fails, world.builder_says = True, [(severity, text)]
    with pytest.raises(CxredgeError, match=message) as why:
        build_engine(fp32, tmp_path / "m.plan", EngineConfig(Precision.FP32))
    assert why.value.message.startswith("TensorRT 10.3.0 cannot build m.plan: ")
    assert why.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_missing_driver_is_explained(fake: Fake, fp32: Path, tmp_path) -> None:
    world = fake("10.3.0")
    world.has_driver = False
    with pytest.raises(DependencyError, match="no usable NVIDIA driver or GPU"):
        build_engine(fp32, tmp_path / "m.plan", EngineConfig(Precision.FP32))


def test_int8_is_refused_without_hardware(fake: Fake, int8: Path, fp32: Path, tmp_path) -> None:
    world = fake("8.6.1", FakeGpu((5, 3), "NVIDIA Tegra X1"))
    world.has_int8 = False
    with pytest.raises(CxredgeError, match="NVIDIA Tegra X1 has no INT8 hardware") as why:
        build_engine(int8, tmp_path / "m.plan", EngineConfig(Precision.INT8))
    assert why.value.hint == "Use --precision fp16."
    build_engine(fp32, tmp_path / "m.plan", EngineConfig(Precision.FP16))


def test_an_engine_that_cannot_be_loaded_is_not_written(fake: Fake, fp32: Path, tmp_path) -> None:
    world = fake("10.3.0")
    world.load_fails = True
    with pytest.raises(ArtifactError, match="cannot load the engine that it has just built"):
        build_engine(fp32, tmp_path / "m.plan", EngineConfig(Precision.FP32))
    assert list(tmp_path.iterdir()) == []


def test_errors_come_before_warnings(fake: Fake, fp32: Path, tmp_path) -> None:
    world = fake("10.3.0")
    world.build_fails = True
    world.builder_says = [
        ("WARNING", "Skipping tactic due to insufficient memory on requested size of 100"),
        ("ERROR", "Error Code 10: Could not find any implementation for node conv1."),
    ]
    with pytest.raises(ArtifactError, match="no kernel fits node conv1") as why:
        build_engine(fp32, tmp_path / "m.plan", EngineConfig(Precision.FP32))
    assert "--workspace-mb" in why.value.hint


def test_a_model_with_other_tensors_is_refused(fake: Fake, fp32: Path, tmp_path: Path) -> None:
    fake("10.3.0")
    other = onnx.load(fp32)
    for node in other.graph.node:
        node.output[:] = ["scores" if name == "logits" else name for name in node.output]
    other.graph.output[0].name = "scores"
    onnx.save(other, tmp_path / "other.onnx")
    with pytest.raises(ArtifactError, match="must have the input 'image' and the output 'logits'"):
        build_engine(tmp_path / "other.onnx", tmp_path / "m.plan", EngineConfig(Precision.FP32))
