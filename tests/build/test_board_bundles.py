"""Bundles built here for boards: what they hold, and what they do before they are finished."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from cxredge.bundle.bundle import open_bundle, read_golden
from cxredge.bundle.passport import strange_here
from cxredge.targets import registry
from cxredge.vocabulary import Precision
from tests.builds import build
from tests.targets.boards import board, tree


@pytest.fixture(scope="module")
def for_orin(
    cxredge, model: Path, calibration: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict]:
    out = tmp_path_factory.mktemp("orin") / "bundle"
    ran = build(cxredge, model, calibration, out, "--target", "jetson-orin-nano")
    assert ran.code == 0, ran.err
    return out, ran.json


def test_a_bundle_for_a_board_holds_three_precisions_and_no_times(for_orin) -> None:
    out, found = for_orin
    assert (found["target"], found["backend"]) == ("jetson-orin-nano", "tensorrt")
    assert [c["precision"] for c in found["candidates"]] == ["fp32", "fp16", "int8"]
    assert [c["latency_ms"] for c in found["candidates"]] == [None, None, None]
    assert found["precision"] == "int8"
    assert found["reason"].startswith("nothing was timed, because this machine is not jetson-orin")
    assert found["finished_here"] is False
    assert not (out / "passport.json").exists()
    assert set(read_golden(open_bundle(out)).logits) == {
        Precision.FP32, Precision.FP16, Precision.INT8,
    }  # fmt: skip
    assert "--onnx=model-int8.onnx" in found["trtexec"]["int8"]


def test_a_bundle_for_a_board_has_the_dialect_of_tensorrt(for_orin) -> None:
    graph = onnx.load(for_orin[0] / "model-int8.onnx").graph
    zero_points = {node.input[2] for node in graph.node if node.op_type == "QuantizeLinear"}
    kinds = {tensor.data_type for tensor in graph.initializer if tensor.name in zero_points}
    assert kinds == {onnx.TensorProto.INT8}


def test_a_bundle_for_a_board_runs_in_onnx_runtime_until_it_is_finished(
    for_orin, cxredge, phantoms: Path, tmp_path: Path
) -> None:
    out = for_orin[0]
    assert cxredge("verify", out).code == 0
    predicted = cxredge("predict", out, phantoms / "images", "--out", tmp_path / "p.csv", "--json")
    assert predicted.code == 0, predicted.err
    evaluated = cxredge("evaluate", out, phantoms / "manifest.csv", "--json")
    assert evaluated.code == 0, evaluated.err
    assert evaluated.json["backend"] == "onnxruntime"
    verdict = cxredge("bench", out, "--seconds", 0, "--queries", 5, "--json").json["verdict"]
    assert verdict["reasons"][0] == "this machine is not the target, jetson-orin-nano"
    refused = cxredge("build", out)
    assert refused.code == 1
    assert "is for jetson-orin-nano (aarch64); this machine is" in refused.err
    reported = cxredge("report", out, "--out", tmp_path / "report.html")
    assert reported.code == 0, reported.err


def test_a_bundle_for_a_board_is_not_built_again(for_orin, cxredge, model, calibration) -> None:
    ran = build(cxredge, model, calibration, for_orin[0], "--target", "jetson-orin-nano")
    assert ran.code == 0, ran.err
    assert "is up to date" in ran.err
    assert ran.json["candidates"][0]["latency_ms"] is None


def test_a_board_without_int8_gets_fp16_and_int8_is_explained(
    cxredge, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    ran = cxredge(
        "build", model, "--target", "jetson-nano", "--out", out, "--archive", "--min-agreement", 0.5
    )
    assert ran.code == 0, ran.err
    archive = tmp_path / "bundle.tar"
    assert "cxredge does not run on jetson-nano" in ran.out
    line = "trtexec --onnx=model-fp16-float-input.onnx"
    assert f"On the device, in an empty folder: tar -xf {archive} && {line}" in ran.out
    assert not (out / "model-int8.onnx").exists()
    bundle = open_bundle(out)
    assert bundle.precision is Precision.FP16
    session = onnxruntime.InferenceSession(out / "model-fp16-float-input.onnx")
    golden = read_golden(bundle)
    pixels = golden.pixels[:, None].astype(np.float32)
    assert np.allclose(
        session.run(None, {"image": pixels})[0], golden.logits[Precision.FP16], atol=1e-3
    )
    # Nothing sends anyone to commands that cannot run there.
    shown = cxredge("inspect", out)
    assert "on its device: trtexec, as in recipe.txt, run in its folder" in shown.out
    assert f"after tar -xf {archive.name}; cxredge does" in cxredge("inspect", archive).out
    elsewhere = cxredge("build", out)
    assert "On the device: trtexec, as in recipe.txt" in elsewhere.err
    assert "cxredge build RUN_OR_MODEL --target here --out BUNDLE" in elsewhere.err
    assert "On the device: trtexec" in strange_here(out, "jetson-nano", None)
    refused = cxredge(
        "build", model, "--target", "jetson-nano", "--precision", "int8", "--out", out
    )
    assert refused.code == 2
    assert "has no INT8 hardware" in refused.err
    assert "--precision fp16" in refused.err


def test_a_bundle_is_not_finished_on_a_board_with_old_software(
    for_orin, cxredge, tmp_path: Path, monkeypatch
) -> None:
    root = tree(tmp_path, board("tegra234", "p3767-0005", (35, "1.0")))
    monkeypatch.setattr(registry, "ROOT", root)
    monkeypatch.setattr(registry, "this_machine", lambda: "aarch64")
    refused = cxredge("build", for_orin[0])
    assert refused.code == 1
    assert "its TensorRT is 8.4.1" in refused.err
    assert "Install JetPack 7.2" in refused.err
    assert not (for_orin[0] / "passport.json").exists()
