"""The gate through the commands, on phantoms."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from cxredge.artifacts.atomic import write_json
from cxredge.artifacts.card import read_card
from cxredge.artifacts.records import to_json
from cxredge.bundle.card import BundleCard
from cxredge.bundle.flipped import read_flipped, write_flipped
from cxredge.data.loading import load_pixels
from cxredge.data.manifest import Manifest, read_manifest, write_manifest
from cxredge.gate.gate import GateLimits
from cxredge.vocabulary import Precision, Split

LIMITS = {
    "--max-accuracy-drop": 0.4,
    "--min-agreement": 0.3,
    "--max-auroc-drop": 0.5,
    "--max-sensitivity-drop": 0.6,
    "--max-calibration-error-rise": 0.7,
}
LOOSE = [str(part) for pair in LIMITS.items() for part in pair]


@pytest.fixture
def quantize(cxredge, model: Path, calibration: Path, phantoms: Path, tmp_path: Path):
    def run(*more: object, evaluate: Path = phantoms / "manifest.csv"):
        return cxredge(
            "quantize", model, "--calibration", calibration, "--dialect", "cpu",
            "--evaluate", evaluate, "--out", tmp_path / "int8", *more,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("command", ["build", "quantize"])
def test_limits_are_options_that_state_their_defaults(command: str, cxredge) -> None:
    shown = " ".join(cxredge(command, "--help").out.replace("│", " ").split())
    defaults = asdict(GateLimits())
    for option in LIMITS:
        assert option in shown
        assert f"[default: {defaults[option[2:].replace('-', '_')]}]" in shown


def test_limits_of_a_build_are_on_its_card(
    cxredge, model: Path, calibration: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    ran = cxredge("build", model, "--calibration", calibration, "--out", out, *LOOSE, "--json")
    assert ran.code == 0, ran.err
    card = read_card(out, BundleCard)
    assert {f"--{k.replace('_', '-')}": v for k, v in vars(card.config.gate).items()} == LIMITS
    checks = card.facts.gate[Precision.INT8].checks
    agreement_of_refusals = card.config.refusals.min_refusal_agreement
    assert {check.limit for check in checks} == {*LIMITS.values(), agreement_of_refusals, None}


@pytest.mark.usefixtures("careless_int8")
def test_a_refused_build_shows_its_table_and_names_the_images(
    cxredge, model: Path, calibration: Path, manifest: Manifest, tmp_path: Path
) -> None:
    ran = cxredge(
        "build", model, "--precision", "int8", "--calibration", calibration,
        "--out", tmp_path / "bundle", *LOOSE, "--min-agreement", 1, "--json", "-q",
    )  # fmt: skip
    assert ran.code == 3
    gate = ran.json["gate"]
    assert gate["refusals"]
    assert "(at least 1)" in ran.json["error"]
    assert "--min-agreement" in ran.json["hint"]
    for check in gate["checks"]:
        assert check["subject"] in ran.err
        assert check["verdict"] in ran.err
    held_out = manifest.of(Split.TEST)
    assert gate["flipped"]
    for flip in gate["flipped"]:
        assert flip["path"] == str(held_out[flip["index"]].path)
        assert flip["label"] == held_out[flip["index"]].label
        assert flip["fp32"] != flip["now"]
        assert flip["path"] in ran.err
    assert not (tmp_path / "bundle").exists()


@pytest.mark.usefixtures("careless_int8")
def test_a_build_shows_what_the_gate_found(
    cxredge, model: Path, calibration: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    ran = cxredge("build", model, "--calibration", calibration, "--out", out, *LOOSE)
    assert ran.code == 0, ran.err
    assert "INT8 against FP32 on" in ran.out
    assert "Operating thresholds:" in ran.out
    assert "Decisions of INT8 alone that differ from FP32's: " in ran.out


def test_the_card_has_thresholds_with_their_drift(built: Path) -> None:
    facts = read_card(built, BundleCard).facts
    for row in facts.gate[Precision.INT8].thresholds:
        assert row.fp32 == facts.thresholds[Precision.FP32][row.class_name]
        assert row.candidate == facts.thresholds[Precision.INT8][row.class_name]
        assert row.drift == pytest.approx(row.candidate - row.fp32)
    assert len(facts.gate[Precision.INT8].thresholds) == 4


@pytest.mark.usefixtures("careless_int8")
def test_a_bundle_keeps_pictures_of_flipped_images_but_not_their_paths(
    cxredge, model: Path, calibration: Path, manifest: Manifest, tmp_path: Path
) -> None:
    built = tmp_path / "bundle"
    loose = [part for option in LIMITS for part in (option, 0 if "min" in option else 1)]
    ran = cxredge("build", model, "--calibration", calibration, "--out", built, *loose)
    assert ran.code == 0, ran.err
    gate = to_json(read_card(built, BundleCard).facts.gate[Precision.INT8])
    assert gate["flipped"]
    assert all("path" not in flip for flip in gate["flipped"])
    pixels = load_pixels(manifest.of(Split.TEST), 64)
    kept = read_flipped(built, 64)
    assert set(kept) == {flip["index"] for flip in gate["flipped"]}
    for index, picture in kept.items():
        assert (picture == pixels[index]).all()


def test_only_so_many_pictures_are_kept(tmp_path: Path) -> None:
    pixels = np.arange(40, dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8)
    write_flipped(tmp_path, pixels, range(39, 4, -1))
    assert sorted(read_flipped(tmp_path, 8)) == list(range(5, 29))
    assert (read_flipped(tmp_path, 8)[7] == 7).all()


def test_no_pictures_where_nothing_flipped(tmp_path: Path) -> None:
    write_flipped(tmp_path, np.zeros((3, 8, 8), np.uint8), [])
    assert list(tmp_path.iterdir()) == []
    assert read_flipped(tmp_path, 8) == {}


def test_quantize_tells_the_verdict(quantize) -> None:
    ran = quantize("--json")
    assert ran.code == 0, ran.err
    compared = ran.json["comparison"]
    assert {"checks", "thresholds", "flipped", "cautions"} <= set(compared)
    assert all(Path(flip["path"]).is_file() for flip in compared["flipped"])
    assert "INT8 against FP32 on" in quantize().out


@pytest.mark.usefixtures("careless_int8")
def test_quantize_refuses_by_a_limit_that_was_named(quantize, tmp_path: Path) -> None:
    ran = quantize(*LOOSE, "--min-agreement", 1, "--json")
    assert ran.code == 3
    assert ran.json["gate"]["passed"] is False
    assert "agreement" in ran.err
    assert "at least 1" in ran.err
    assert "try --effort extensive" in ran.err
    assert (tmp_path / "int8" / "quantization.json").is_file()
    # The same again, from what was written: the verdict does not fade.
    assert quantize(*LOOSE, "--min-agreement", 1).code == 3
    assert quantize(*LOOSE).code == 0
    tried = quantize(*LOOSE, "--min-agreement", 1, "--effort", "extensive")
    assert tried.code == 3
    assert "extensive" not in tried.err


def test_quantize_without_validation_images_says_what_is_missing(
    quantize, manifest: Manifest, tmp_path: Path
) -> None:
    write_manifest(tmp_path / "test-only.csv", manifest.of(Split.TEST))
    assert not read_manifest(tmp_path / "test-only.csv").counts().get("val")
    ran = quantize("--json", evaluate=tmp_path / "test-only.csv")
    assert ran.code == 0, ran.err
    assert ran.json["comparison"]["thresholds"] == []
    assert "Sensitivity was not compared" in " ".join(ran.json["comparison"]["cautions"])


def test_a_bundle_of_an_older_layout_is_refused_in_a_sentence(bundle: Path, cxredge) -> None:
    from cxredge.artifacts.hashing import sha256_of_json

    body = read_card(bundle, BundleCard).to_json()
    body.pop("card_sha256")
    body["schema"] = "cxredge.bundle/1"
    write_json(bundle / "card.json", {**body, "card_sha256": sha256_of_json(body)})
    for command in (["deploy", bundle], ["report", bundle, "--out", bundle / "r.html"]):
        ran = cxredge(*command)
        assert ran.code == 1
        assert "has schema 'cxredge.bundle/1'; this cxredge reads 'cxredge.bundle/2'" in ran.err
