"""Bundles: the same inputs give the same bytes, nothing personal inside, thresholds that hold."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from cxredge.artifacts import read_card
from cxredge.bundle import open_bundle, read_golden
from cxredge.candidates import Candidate, choose
from cxredge.data.manifest import Manifest, load_pixels
from cxredge.errors import CxredgeError, GateRefused
from cxredge.inference import infer_file
from cxredge.metrics import softmax
from cxredge.passport import PASSPORT_NAME, strange_here
from cxredge.quantization.gate import GateLimits, compare
from cxredge.speed import Speed, Variant
from cxredge.targets import registry
from cxredge.timing import summarise
from cxredge.vocabulary import Precision, PrecisionChoice, Split
from tests.targets.boards import board, tree

CPU = registry.find_target("cpu-x86")


def build(cxredge, model: Path, calibration: Path, out: Path, *more: object):
    return cxredge(
        "build", model, "--calibration", calibration, "--out", out, "--min-agreement", 0.5,
        "--max-accuracy-drop", 0.5, "--json", *more,
    )  # fmt: skip


def contents(bundle: Path) -> dict[str, bytes]:
    """Return what was packed, by name: all but what this machine was found to serve with."""
    return {
        path.relative_to(bundle).as_posix(): path.read_bytes()
        for path in sorted(bundle.rglob("*"))
        if path.is_file() and path.name != PASSPORT_NAME
    }


def test_same_inputs_same_bytes_in_another_folder_at_another_speed(
    cxredge, model: Path, calibration: Path, built: Path, tmp_path: Path, monkeypatch
) -> None:
    """Which precision was the fastest is for the passport; INT8 sums must not follow threads."""

    def slow_int8(variants: Sequence[Variant], _: object) -> dict[Variant, Speed]:
        ms = {Precision.FP32: 1.0, Precision.INT8: 9.0}
        return {v: Speed(summarise([ms[v.precision]] * 50), 1) for v in variants}

    monkeypatch.setattr("cxredge.build.measure_speeds", slow_int8)
    copied = Path(shutil.copytree(model, tmp_path / "elsewhere" / "model"))
    again = build(cxredge, copied, calibration, tmp_path / "elsewhere" / "again")
    assert again.code == 0, again.err
    assert again.json["precision"] == "fp32"
    first, second = contents(built), contents(tmp_path / "elsewhere" / "again")
    assert {"golden.npz", "model-int8.onnx", "calibration.csv", "ranges.json"} <= set(first)
    assert first == second
    assert json.loads(first["card.json"])["facts"]["precision"] == "int8"


def test_members_of_the_goldens_carry_no_time(built: Path) -> None:
    for path in built.glob("*.npz"):
        with zipfile.ZipFile(path) as archive:
            assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_nothing_in_a_bundle_names_a_patient_or_a_folder(
    built: Path, phantoms: Path, manifest: Manifest
) -> None:
    patients = {entry.patient for entry in manifest.entries}
    for path in built.rglob("*"):
        if path.suffix not in (".json", ".csv"):
            continue
        text = path.read_text()
        assert str(phantoms) not in text
        assert not [patient for patient in patients if patient in text]
    with zipfile.ZipFile(built / "golden.npz") as archive:
        assert sorted(archive.namelist()) == [
            "labels.npy", "logits_fp32.npy", "logits_int8.npy", "pixels.npy",
        ]  # fmt: skip


def test_goldens_hold_every_class_and_what_the_models_say(built: Path) -> None:
    bundle = open_bundle(built)
    golden = read_golden(bundle)
    assert golden.pixels.shape == (12, 64, 64)
    assert np.bincount(golden.labels).tolist() == [3, 3, 3, 3]
    for precision, expected in golden.logits.items():
        found = infer_file(built / f"model-{precision.value}.onnx", golden.pixels)
        assert np.allclose(found, expected, atol=1e-3)


def test_thresholds_reach_the_specificity_on_validation_images(
    built: Path, manifest: Manifest
) -> None:
    bundle = open_bundle(built)
    entries = manifest.of(Split.VAL)
    pixels = load_pixels(entries, 64)
    labels = np.array([bundle.card.classifier.classes.index(e.label) for e in entries])
    for precision in bundle.precisions:
        probabilities = softmax(infer_file(built / f"model-{precision.value}.onnx", pixels))
        thresholds = bundle.card.facts["thresholds"][precision.value]
        for index, name in enumerate(bundle.card.classifier.classes):
            below = probabilities[labels != index, index] < thresholds[name]
            assert below.mean() >= 0.9


def test_a_bundle_for_another_processor_is_not_stamped_here(
    cxredge, model: Path, calibration: Path, tmp_path: Path
) -> None:
    other = "cpu-arm" if registry.this_machine() == "x86_64" else "cpu-x86"
    ran = build(cxredge, model, calibration, tmp_path / "bundle", "--target", other)
    assert ran.code == 0, ran.err
    assert ran.json["finished_here"] is False
    assert not (tmp_path / "bundle" / "passport.json").exists()
    assert cxredge("verify", tmp_path / "bundle").code == 0
    refused = cxredge("build", tmp_path / "bundle")
    assert refused.code == 1
    assert f"is for {other}" in refused.err


def test_a_bundle_that_is_up_to_date_is_not_built_again(
    cxredge, model: Path, calibration: Path, bundle: Path, monkeypatch
) -> None:
    monkeypatch.setattr("cxredge.build.build", lambda *_: pytest.fail("built again"))
    before = (bundle / "card.json").read_bytes()
    ran = build(cxredge, model, calibration, bundle)
    assert ran.code == 0, ran.err
    assert "is up to date" in ran.err
    assert (bundle / "card.json").read_bytes() == before
    with pytest.raises(pytest.fail.Exception):
        build(cxredge, model, calibration, bundle, "--specificity", 0.8)


def test_a_passport_of_another_bundle_is_refused(bundle: Path, cxredge) -> None:
    passport = json.loads((bundle / "passport.json").read_text())
    passport["card_file_sha256"] = "0" * 64
    (bundle / "passport.json").write_text(json.dumps(passport))
    ran = cxredge("verify", bundle)
    assert ran.code == 1
    assert "belongs to another bundle" in ran.err


def test_without_a_calibration_list_training_images_are_chosen_and_said(
    cxredge, model: Path, tmp_path: Path
) -> None:
    ran = cxredge(
        "build", model, "--out", tmp_path / "bundle", "--min-agreement", 0.5,
        "--max-accuracy-drop", 0.5,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "training images were chosen" in ran.err


def test_fp32_alone_needs_no_calibration(cxredge, model: Path, tmp_path: Path) -> None:
    ran = cxredge("build", model, "--precision", "fp32", "--out", tmp_path / "bundle", "--json")
    assert ran.code == 0, ran.err
    assert [c["precision"] for c in ran.json["candidates"]] == ["fp32"]
    assert not (tmp_path / "bundle" / "calibration.csv").exists()


@pytest.mark.train
def test_build_from_a_run_exports_it(
    cxredge, run_folder: Path, calibration: Path, tmp_path: Path
) -> None:
    ran = build(cxredge, run_folder, calibration, tmp_path / "bundle")
    assert ran.code == 0, ran.err
    training = read_card(tmp_path / "bundle").facts["training"]
    assert (training["network"], training["epochs"]) == ("mobilenet_v1", 2)


def candidate(precision: Precision, milliseconds: float, agreement: float = 1.0) -> Candidate:
    reference = np.tile([2.0, 0.0], (100, 1))
    flipped = reference.copy()
    flipped[: round(100 * (1 - agreement))] = [0.0, 2.0]
    gate = compare(
        reference, flipped, np.zeros(100, int), [str(n) for n in range(100)], GateLimits(1.0, 0.97)
    )
    variant = Variant("onnxruntime", precision, Path("model.onnx"))
    return Candidate(variant, gate, Speed(summarise([milliseconds] * 50)))


def test_auto_takes_the_fastest_that_passes() -> None:
    fp32, int8 = candidate(Precision.FP32, 8.0), candidate(Precision.INT8, 2.0)
    chosen, reason = choose([fp32, int8], PrecisionChoice.AUTO, CPU)
    assert chosen is int8
    assert "4.00 times as fast as fp32" in reason


def test_auto_takes_the_slower_if_the_faster_fails() -> None:
    fp32, int8 = candidate(Precision.FP32, 8.0), candidate(Precision.INT8, 2.0, agreement=0.9)
    chosen, reason = choose([fp32, int8], PrecisionChoice.AUTO, CPU)
    assert chosen is fp32
    assert reason.endswith("int8 was refused: agreement 0.9000 (at least 0.97).")


def test_slower_int8_does_not_ship_though_it_passes() -> None:
    fp32, int8 = candidate(Precision.FP32, 2.0), candidate(Precision.INT8, 8.0)
    assert choose([fp32, int8], PrecisionChoice.AUTO, CPU)[0] is fp32


def test_overlapping_latencies_are_said_to_overlap() -> None:
    noisy = summarise([1.0, 5.0] * 50)
    fp32 = replace(candidate(Precision.FP32, 8.0), speed=Speed(noisy))
    int8 = replace(candidate(Precision.INT8, 2.0), speed=Speed(noisy))
    assert "within the noise" in choose([fp32, int8], PrecisionChoice.AUTO, CPU)[1]


def test_untimed_candidates_are_taken_in_the_order_of_the_target() -> None:
    given = [
        replace(candidate(precision, 1.0, agreement), speed=None)
        for precision, agreement in (
            (Precision.FP32, 1.0), (Precision.FP16, 1.0), (Precision.INT8, 0.9),
        )
    ]  # fmt: skip
    board = registry.find_target("jetson-orin-nano")
    chosen, reason = choose(given, PrecisionChoice.AUTO, board)
    assert chosen.precision is Precision.FP16
    assert "fp16 passes the gate and is the first choice" in reason
    assert "fp32 passes too, int8 was refused" in reason
    good = replace(candidate(Precision.INT8, 1.0), speed=None)
    assert choose([*given[:2], good], PrecisionChoice.AUTO, board)[0] is good


def test_what_fails_cannot_be_forced() -> None:
    int8 = candidate(Precision.INT8, 2.0, agreement=0.9)
    with pytest.raises(GateRefused, match=r"int8 refused by the gate: agreement 0\.9000"):
        choose([candidate(Precision.FP32, 8.0), int8], PrecisionChoice.INT8, CPU)
    with pytest.raises(GateRefused, match="golden images come out differently"):
        choose([replace(int8, golden_passed=False)], PrecisionChoice.INT8, CPU)
    with pytest.raises(CxredgeError, match="There is no int8 candidate; there is fp32"):
        choose([candidate(Precision.FP32, 8.0)], PrecisionChoice.INT8, CPU)


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
    ran = cxredge("build", model, "--target", "jetson-nano", "--out", out, "--archive")
    assert ran.code == 0, ran.err
    archive = tmp_path / "bundle.tar"
    assert "cxredge does not run on jetson-nano" in ran.out
    line = "trtexec --onnx=model-fp16-float-input.onnx"
    assert f"On it, in an empty folder: tar -xf {archive} && {line}" in ran.out
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
    assert "on its device: trtexec, as recipe.txt says, in its folder" in shown.out
    assert f"after tar -xf {archive.name}; cxredge does" in cxredge("inspect", archive).out
    elsewhere = cxredge("build", out)
    assert "On the device: trtexec, as recipe.txt says" in elsewhere.err
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
