"""The script for machines with a GPU, as far as it can run without one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from benchmarks import gpu_check
from cxredge.backends.cuda.driver import find_gpu
from cxredge.bundle.bundle import open_bundle
from cxredge.vocabulary import Precision
from tests.backends.conftest import Fake

SCRIPT = Path(gpu_check.__file__)


@pytest.mark.skipif(find_gpu() is not None, reason="there is a GPU")
def test_a_missing_gpu_is_reported(bundle: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(bundle), "--out", str(tmp_path / "results")]
    environment = {"PYTHONPATH": str(SCRIPT.parents[1]), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("gpu_check: no GPU. There is no NVIDIA driver")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Omit what requires a real GPU or an installation, and most repetitions."""
    contract = {"passed": True, "summary": "6 passed", "skipped": []}
    monkeypatch.setattr(gpu_check, "install_pycuda", lambda: {"installed": True, "built": False})
    monkeypatch.setattr(gpu_check, "memory_contract", lambda: contract)
    monkeypatch.setattr(gpu_check, "WARM_UP", 1)
    monkeypatch.setattr(gpu_check, "ROUNDS", 3)


@pytest.mark.usefixtures("quick")
def test_results_are_complete(bundle: Path, tmp_path: Path, fake: Fake, monkeypatch) -> None:
    fake("10.3.0")
    monkeypatch.setattr(sys, "argv", ["gpu_check", str(bundle), "--out", str(tmp_path)])
    assert gpu_check.main() == 0
    found = json.loads((tmp_path / "orin.json").read_text())
    assert list(found["engines"]["tensorrt"]) == ["fp32", "fp16", "int8"]
    for one in found["engines"]["tensorrt"].values():
        assert one["golden"]["passed"] is True
        assert one["golden"]["batch_8"]["classes_changed"] == 0
        assert len(one["ways"]) == 16
        assert {way["latency_ms"]["count"] for way in one["ways"]} == {3}
        assert one["layers_ms"][0] == {"name": "gemm", "mean_ms": 0.5}
    int8 = found["engines"]["tensorrt"]["int8"]["golden"]["against_fp32"]
    assert int8["logit"] > 0
    in_turn = found["in_turn"]["tensorrt"]
    assert list(in_turn) == ["batch_1", "batch_8"]
    assert set(in_turn["batch_1"]) == {"fp32", "fp16", "int8"}
    assert in_turn["batch_8"]["fp32"]["times_as_fast_as_fp32"] == 1.0
    assert in_turn["batch_8"]["int8"]["times_as_fast_as_fp32"] > 0
    assert "skipped" in found["onnxruntime_cuda"]


@pytest.mark.usefixtures("quick")
def test_onnxruntime_is_compared_and_timed_beside_the_engines(
    bundle: Path, tmp_path: Path, monkeypatch
) -> None:
    """The CPU provider replaces the CUDA provider, under its name."""
    real = onnxruntime.InferenceSession

    class Session:
        def __init__(self, path: str, providers: list[str]) -> None:
            assert providers == ["CUDAExecutionProvider"]
            self.run = real(path, providers=["CPUExecutionProvider"]).run

        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    opened = open_bundle(bundle)
    golden = gpu_check.check_onnxruntime(opened)["golden"]
    assert (golden["classes_changed"], golden["logit"] < 1e-4) == (0, True)
    in_turn = gpu_check.time_in_turn(opened, {Precision.FP32: tmp_path / "none.plan"})
    assert in_turn["batch_1"]["onnxruntime fp32"]["count"] == 3
    assert in_turn["batch_1"]["onnxruntime fp32"]["times_as_fast_as_fp32"] is None


@pytest.mark.usefixtures("quick")
def test_one_failure_does_not_hide_the_rest(
    bundle: Path, tmp_path: Path, fake: Fake, monkeypatch
) -> None:
    world = fake("10.3.0")
    world.build_fails, world.builder_says = True, [("ERROR", "Unsupported SM: 0x900")]
    monkeypatch.setattr(sys, "argv", ["gpu_check", str(bundle), "--out", str(tmp_path)])
    assert gpu_check.main() == 1
    found = json.loads((tmp_path / "orin.json").read_text())
    for one in found["engines"]["tensorrt"].values():
        assert "does not support this GPU" in one["failed"]


def test_a_missing_compiler_for_pycuda_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(gpu_check.shutil, "which", lambda name, path: None)
    assert gpu_check.install_pycuda()["why"].startswith("nvcc was not found")


def test_different_golden_images_fail_the_check() -> None:
    good = {"golden": {"passed": True}}
    found = {"memory_contract": {"passed": True}, "engines": {"tensorrt": {"fp32": good}}}
    assert gpu_check.passed(found)
    found["engines"]["tensorrt"]["int8"] = {"golden": {"passed": False}}
    assert not gpu_check.passed(found)
    assert not gpu_check.passed({"memory_contract": {"passed": True}, "engines": {}})
