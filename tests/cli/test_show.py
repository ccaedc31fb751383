"""``cxredge show``: one X-ray as a picture and in words."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxredge.bundle.card import BundleFacts
from cxredge.bundle.operating_point import OperatingPoint
from cxredge.data.manifest import Manifest
from cxredge.metrics.controls import ControlImages, measure_controls
from cxredge.vocabulary import Split
from tests.builds import build


@pytest.fixture
def xray(manifest: Manifest) -> Path:
    """An X-ray that the bundle knows: one of the training images."""
    return next(
        entry.path
        for entry in manifest.of(Split.TRAIN)
        if entry.label == "viral" and entry.path.suffix == ".png"
    )


def test_show(xray: Path, bundle: Path, tmp_path: Path, cxredge) -> None:
    out = tmp_path / "x.png"
    ran = cxredge("show", xray, "--bundle", bundle, "--out", out, "--json")
    assert ran.code == 0, ran.err
    found = ran.json
    assert found["status"] == "ok"
    assert found["label"] in found["set"]
    assert found["label"] == max(found["probabilities"], key=found["probabilities"].get)
    assert found["familiarity"] >= 1
    assert found["picture"] == str(out)
    with Image.open(out) as picture:
        assert picture.width == 1000
        assert picture.info == {}
    words = cxredge("show", xray, "--bundle", bundle, "--out", out)
    assert words.code == 0
    for expected in (
        f"{found['label']}, ", "Classes that cannot be excluded: ", "Familiarity ", "Evidence for ",
        "Research use only",
    ):  # fmt: skip
        assert expected in words.out


def test_an_unfamiliar_xray_has_no_label(
    xray: Path, bundle: Path, tmp_path: Path, cxredge, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxredge.bundle.bundle import Bundle

    usual = Bundle.operating_point

    def strict(self: Bundle, *more: object) -> OperatingPoint:
        found = usual(self, *more)  # type: ignore[arg-type]
        return OperatingPoint(found.thresholds, 1e-6, found.set_levels)

    monkeypatch.setattr(Bundle, "operating_point", strict)
    out = tmp_path / "x.png"
    found = cxredge("show", xray, "--bundle", bundle, "--out", out, "--json").json
    assert (found["status"], found["label"], found["set"]) == ("unfamiliar", "", [])
    assert found["familiarity"] < 1
    assert out.is_file()
    words = cxredge("show", xray, "--bundle", bundle, "--out", out).out
    assert words.startswith("No answer: ")
    labelled = cxredge("show", xray, "--bundle", bundle, "--out", out, "--answer-all", "--json")
    assert labelled.json["label"]
    assert "unlike" in labelled.json["cautions"][-1]


def test_a_bundle_with_probabilities_alone_is_shown(
    xray: Path, model: Path, calibration: Path, tmp_path: Path, cxredge
) -> None:
    plain, out = tmp_path / "plain", tmp_path / "x.png"
    ran = build(
        cxredge, model, calibration, plain, "--no-heatmaps", "--no-familiarity", "--precision",
        "fp32",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    found = cxredge("show", xray, "--bundle", plain, "--out", out, "--json").json
    assert (found["familiarity"], found["evidence"]) == (None, {})
    assert found["label"]
    words = cxredge("show", xray, "--bundle", plain, "--out", out).out
    assert "No heatmap: the bundle was built with --no-heatmaps" in words


def test_dicom_is_shown(bundle: Path, tmp_path: Path, cxredge, xray: Path) -> None:
    pytest.importorskip("pydicom", reason="needs the dicom extra")
    with Image.open(xray) as picture:
        pixels = np.asarray(picture.convert("L").resize((200, 300)))
    from tests.dicom_files import dicom

    path = tmp_path / "a.dcm"
    path.write_bytes(dicom(pixels))
    out = tmp_path / "x.png"
    ran = cxredge("show", path, "--bundle", bundle, "--out", out, "--answer-all", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["label"]


def test_the_default_picture_is_not_replaced(
    xray: Path, bundle: Path, tmp_path: Path, cxredge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cxredge("show", xray, "--bundle", bundle).code == 0
    assert (tmp_path / "show.png").is_file()
    again = cxredge("show", xray, "--bundle", bundle)
    assert again.code == 1
    assert "show.png exists." in again.err


def test_bad_inputs_are_explained_and_write_nothing(
    xray: Path, bundle: Path, tmp_path: Path, cxredge
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    own = tmp_path / "own.png"
    shutil.copy(xray, own)
    before = own.read_bytes()
    cases = [
        ((bad,), tmp_path / "x.png", "bad.png"),
        ((tmp_path / "none.png",), tmp_path / "x.png", "none.png"),
        ((tmp_path,), tmp_path / "x.png", str(tmp_path)),
        ((xray,), tmp_path / "x.jpg", "is a PNG"),
        ((xray,), tmp_path / "none" / "x.png", "does not exist"),
        ((own,), own, "is the X-ray"),
    ]
    for images, out, message in cases:
        ran = cxredge("show", *images, "--bundle", bundle, "--out", out, "--json")
        assert ran.code == 1
        assert message in ran.json["error"]
        assert ran.json["hint"]
        assert "Traceback" not in ran.err
    assert own.read_bytes() == before
    assert not (tmp_path / "x.png").exists()
    assert cxredge("show", xray).code == 2


def test_controls_of_the_build_that_speak_against_the_answers_are_told(
    xray: Path, bundle: Path, tmp_path: Path, cxredge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both where one X-ray is shown and where many are predicted."""
    images = ControlImages(["lateral"] * 20, ["here"] * 20, {"viral": {"here"}, "normal": {"far"}})
    decisions = np.zeros(20, dtype=int)
    called = measure_controls(images, decisions, None, ["viral", "normal"])
    usual = BundleFacts.gate_of
    monkeypatch.setattr(
        BundleFacts, "gate_of", lambda *of: dataclasses.replace(usual(*of), controls=called)
    )
    sentence = (
        "Of 20 lateral X-rays from viral's own source, 20 (84-100%) are called viral: this network "
        "tells the source, not the disease."
    )
    out = tmp_path / "x.png"
    shown = cxredge("show", xray, "--bundle", bundle, "--out", out)
    predicted = cxredge("predict", bundle, xray, "--out", tmp_path / "p.csv")
    for ran in (shown, predicted):
        assert f"Caution, from the controls of the build: {sentence}" in ran.out
    assert cxredge("show", xray, "--bundle", bundle, "--out", out, "--json").json[
        "objections"
    ] == [sentence]  # fmt: skip
