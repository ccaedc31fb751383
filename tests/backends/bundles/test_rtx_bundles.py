"""Bundles for TensorRT for RTX: strongly typed INT8, and engines that are built ahead."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxredge.backends.tensorrt.facts import read_facts
from cxredge.bundle.bundle import open_bundle
from cxredge.bundle.layout import engine_source
from cxredge.errors import CxredgeError
from cxredge.targets import registry
from cxredge.vocabulary import Precision
from tests.backends.bundles.board_builds import finish
from tests.backends.conftest import Fake
from tests.backends.fake_cuda import FakeGpu
from tests.conftest import Run
from tests.targets.boards import tree


def test_int8_of_a_strongly_typed_runtime_has_fp16_between_int8_layers(
    cxredge: Run, model: Path, calibration: Path, tmp_path: Path, monkeypatch
) -> None:
    """Tensors beyond the range of FP16 stay FP32, and are reported."""
    options = (
        "--target", "rtx", "--precision", "int8", "--calibration", calibration, "--effort",
        "quick", "--min-agreement", 0.5, "--max-accuracy-drop", 0.5,
    )  # fmt: skip
    ran = cxredge("build", model, *options, "--out", tmp_path / "typed", "--json")
    assert ran.code == 0, ran.err
    held = open_bundle(tmp_path / "typed").card.files
    assert engine_source(Precision.INT8, True, held) == "model-int8-fp16.onnx"
    assert engine_source(Precision.INT8, False, held) == "model-int8.onnx"

    def too_large(model: object) -> None:
        raise CxredgeError("'gemm' reaches 1e+05, and FP16 ends at 65504.")

    monkeypatch.setattr("cxredge.build.pack.to_int8_with_fp16", too_large)
    ran = cxredge("build", model, *options, "--out", tmp_path / "plain", "--json")
    assert "INT8 keeps FP32 between its integers: 'gemm' reaches 1e+05" in ran.err
    held = open_bundle(tmp_path / "plain").card.files
    assert engine_source(Precision.INT8, True, held) == "model-int8.onnx"


class TestBuiltAhead:
    """TensorRT for RTX builds without a GPU; the engine of the GPU is used later."""

    @pytest.fixture
    def rtx(self, cxredge: Run, model: Path, fake: Fake, tmp_path: Path, monkeypatch) -> Path:
        monkeypatch.setattr(registry, "ROOT", tmp_path / "no-driver")
        monkeypatch.setattr(registry, "this_machine", lambda: "x86_64")
        fake("rtx")
        out = tmp_path / "bundle"
        ran = cxredge(
            "build", model, "--target", "rtx", "--precision", "fp16", "--out", out,
            "--compute-capability", "8.6, 8.9,8.6", "--archive", "--json", "--min-agreement", 0.5,
        )  # fmt: skip
        assert ran.code == 0, ran.err
        assert [engine["file"] for engine in ran.json["engines"]] == [
            "model-fp32-sm86.plan", "model-fp32-sm89.plan", "model-fp16-sm86.plan",
            "model-fp16-sm89.plan",
        ]  # fmt: skip
        assert ran.json["finished_here"] is False
        driver = {"proc/driver/nvidia/version": "a driver"}
        monkeypatch.setattr(registry, "ROOT", tree(tmp_path / "pc", driver))
        return out

    def test_the_card_lists_them(self, rtx: Path, cxredge: Run) -> None:
        files = open_bundle(rtx).card.files
        assert {"model-fp16-sm86.plan", "model-fp16-sm86.plan.json"} <= set(files)
        facts = read_facts(rtx / "model-fp16-sm89.plan")
        assert facts is not None
        assert (facts.compute_capability, facts.gpu) == ("8.9", None)
        assert cxredge("verify", rtx.with_name("bundle.tar")).code == 0

    def test_the_engine_of_the_gpu_is_used(self, rtx: Path, cxredge: Run, fake: Fake) -> None:
        fake("rtx", FakeGpu((8, 9), "NVIDIA GeForce RTX 4060", integrated=False))
        ran = finish(cxredge, rtx)
        assert ran.err.count("Copied model-fp") == 2
        assert "Building" not in ran.err
        for name in ("fp32", "fp16"):
            taken, packed = rtx / f"model-{name}.plan", rtx / f"model-{name}-sm89.plan"
            assert taken.read_bytes() == packed.read_bytes()
        assert open_bundle(rtx).backend == "tensorrt-rtx"
        assert finish(cxredge, rtx).err.count("is up to date") == 2
        assert cxredge("verify", rtx).code == 0
        assert cxredge("inspect", rtx / "model-fp16.plan", "--json").json["fits_here"] is True
        other = cxredge("inspect", rtx / "model-fp16-sm86.plan", "--json").json
        assert "built for compute capability 8.6 (ahead of time)" in other["why_not"]

    def test_another_gpu_or_other_options_build_an_engine(
        self, rtx: Path, cxredge: Run, fake: Fake
    ) -> None:
        fake("rtx", FakeGpu((12, 0), "NVIDIA GeForce RTX 5090", integrated=False))
        assert "Building model-fp16.plan" in finish(cxredge, rtx).err
        fake("rtx", FakeGpu((8, 6), "NVIDIA GeForce RTX 3060", integrated=False))
        assert "Building model-fp16.plan" in finish(cxredge, rtx, "--batch", "1,2").err
        assert "Copied model-fp16-sm86.plan" in finish(cxredge, rtx).err

    def test_a_changed_one_is_refused(self, rtx: Path, cxredge: Run, fake: Fake) -> None:
        fake("rtx", FakeGpu((8, 6), "NVIDIA GeForce RTX 3060", integrated=False))
        plan = rtx / "model-fp16-sm86.plan"
        plan.write_bytes(plan.read_bytes() + b" ")
        refused = cxredge("build", rtx)
        assert refused.code == 1
        assert f"{plan} is damaged" in refused.err

    def test_engines_that_contain_code_are_not_packed(
        self, cxredge: Run, model: Path, fake: Fake, tmp_path: Path
    ) -> None:
        fake("rtx")
        refused = cxredge(
            "build", model, "--target", "rtx", "--compute-capability", "8.6",
            "--version-compatible", "--out", tmp_path / "out",
        )  # fmt: skip
        assert refused.code == 2
        assert "contain code" in refused.err
