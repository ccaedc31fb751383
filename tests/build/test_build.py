"""Bundles: the same inputs give the same bytes, nothing personal inside, thresholds that hold."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxredge.artifacts import card as card_module
from cxredge.artifacts.card import read_card
from cxredge.artifacts.records import to_json
from cxredge.backends.batched import infer_file, run_file
from cxredge.build.speed import Variant
from cxredge.bundle.bundle import open_bundle, read_golden
from cxredge.bundle.card import BundleCard
from cxredge.bundle.passport import PASSPORT_NAME
from cxredge.bundle.serving import Speed
from cxredge.data.loading import load_pixels
from cxredge.data.manifest import Manifest
from cxredge.metrics.classification import softmax
from cxredge.metrics.latency import summarise
from cxredge.targets import registry
from cxredge.vocabulary import Effort, Precision, Split
from tests.builds import build


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

    def slow_int8(variants: Sequence[Variant], *_: object) -> dict[Variant, Speed]:
        ms = {Precision.FP32: 1.0, Precision.INT8: 9.0}
        return {v: Speed(summarise([ms[v.precision]] * 50), 1) for v in variants}

    monkeypatch.setattr("cxredge.build.measure.measure_speeds", slow_int8)
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
            "distance_fp32.npy", "distance_int8.npy", "labels.npy", "logits_fp32.npy",
            "logits_int8.npy", "pixels.npy",
        ]  # fmt: skip


def test_goldens_hold_every_class_and_what_the_models_say(built: Path) -> None:
    bundle = open_bundle(built)
    golden = read_golden(bundle)
    assert golden.pixels.shape == (12, 64, 64)
    assert np.bincount(golden.labels).tolist() == [3, 3, 3, 3]
    for precision, expected in golden.logits.items():
        found = run_file(built / f"model-{precision.value}.onnx", golden.pixels)
        assert np.allclose(found.logits, expected, atol=1e-3)
        assert found.distances is not None
        assert np.allclose(found.distances, golden.distances[precision], rtol=1e-3)


def test_thresholds_reach_the_specificity_on_validation_images(
    built: Path, manifest: Manifest
) -> None:
    bundle = open_bundle(built)
    entries = manifest.of(Split.VAL)
    pixels = load_pixels(entries, 64)
    labels = np.array([bundle.card.classifier.classes.index(e.label) for e in entries])
    for precision in bundle.precisions:
        probabilities = softmax(infer_file(built / f"model-{precision.value}.onnx", pixels))
        thresholds = bundle.card.facts.thresholds[precision]
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
    monkeypatch.setattr("cxredge.build.build.measure", lambda *_: pytest.fail("built again"))
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


def test_without_a_calibration_list_training_images_are_chosen_and_reported(
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
def test_build_from_a_run_exports_it_and_may_fine_tune(
    cxredge, run_folder: Path, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantization_aware = pytest.importorskip("cxredge.training.quantization_aware")
    short = quantization_aware.FineTuning(steps=1)
    monkeypatch.setattr(quantization_aware, "FineTuning", lambda: short)
    monkeypatch.setattr("cxredge.quantization.config._EXTENSIVE_LOGIT_ERROR", 0)
    monkeypatch.setattr("cxredge.quantization.search._MAX_FLOAT_STEPS", dict.fromkeys(Effort, 1))
    ran = build(cxredge, run_folder, calibration, tmp_path / "bundle", "--effort", "extensive")
    assert ran.code == 0, ran.err
    facts = read_card(tmp_path / "bundle", BundleCard).facts
    assert facts.quantization.steps[-1].step == "fine-tuned weights"
    training = to_json(facts.training)
    assert (training["network"], training["epochs"]) == ("mobilenet_v1", 2)


def test_every_card_is_read_once(
    cxredge, model: Path, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stages pass opened artifacts on, so that no file is hashed again."""
    read, checked = Counter(), Counter()

    def counting(counts: Counter[str], function: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: Any, second: Any, *more: Any) -> Any:
            folder = first if isinstance(first, Path) else second.parent
            counts[folder.name] += 1
            return function(first, second, *more)

        return call

    for name, counts in (("parse_card", read), ("check_files", checked)):
        function = getattr(card_module, name)
        monkeypatch.setattr(card_module, name, counting(counts, function))
    built = build(cxredge, model, calibration, tmp_path / "bundle")
    assert built.code == 0, built.err
    assert read == {model.name: 1, "bundle": 1}
    assert checked == {model.name: 1, "bundle": 1}, (
        "a bundle is read back once, after it is written"
    )


def test_a_build_that_is_up_to_date_removes_what_a_killed_one_left(
    cxredge, model: Path, calibration: Path, built: Path, tmp_path: Path, monkeypatch
) -> None:
    out = Path(shutil.copytree(built, tmp_path / "bundle"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / ".cxredge-build.abcd1234.partial"
    left.mkdir()
    (left / "fp32-with-outputs.onnx").touch()
    assert "up to date" in build(cxredge, model, calibration, out).err
    assert not left.exists()
