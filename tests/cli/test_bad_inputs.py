"""What users get wrong: one line that says what and what to do, and nothing half-written."""

from __future__ import annotations

import csv
import json
import shutil
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from cxredge.data.phantoms import render_phantom


def bomb(path: Path, side: int) -> None:
    """Write a PNG that claims side x side pixels in a few hundred kilobytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * (side + 1) * 100)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def good(path: Path) -> None:
    Image.fromarray(render_phantom("normal", 1, 0, 64)).save(path)


def truncated(path: Path) -> None:
    good(path)
    path.write_bytes(path.read_bytes()[:900])


BAD_FILES = {
    "empty.png": (lambda path: path.write_bytes(b""), "empty", "is empty"),
    "truncated.png": (truncated, "truncated", "truncated or damaged"),
    "text.png": (
        lambda path: path.write_text("not an image"),
        "unreadable",
        "not a PNG, JPEG or DICOM",
    ),
    "one.png": (lambda path: Image.new("L", (1, 1)).save(path), "too_small", "1x1"),
    "bomb.png": (lambda path: bomb(path, 20_000), "too_large", "at most 64 million"),
}


def one_line(ran, *words: str) -> None:
    """Check that a command failed with a sentence, a hint and no traceback."""
    assert ran.code == 1, (ran.out, ran.err)
    lines = [line for line in ran.err.splitlines() if line.strip()]
    assert lines[0].startswith("Error: ")
    assert len(lines) <= 2
    assert "Traceback" not in ran.err
    assert "Internal error" not in ran.err
    for word in words:
        assert word in ran.err


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_among_good_ones_gets_its_row(
    name: str, bundle: Path, tmp_path: Path, cxredge
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    good(folder / "a.png")
    good(folder / "z.png")
    make, status, words = BAD_FILES[name]
    make(folder / name)
    out = tmp_path / "predictions.csv"
    ran = cxredge("predict", bundle, folder, "--out", out, "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["images"], ran.json["ok"], ran.json["failed"]) == (3, 2, 1)
    with out.open(newline="") as stream:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(stream)}
    assert rows[name]["status"] == status
    assert words in rows[name]["error"]
    assert rows[name]["label"] == rows[name]["probability"] == ""
    assert rows["a.png"]["status"] == rows["z.png"]["status"] == "ok"


@pytest.mark.parametrize("name", BAD_FILES)
def test_only_bad_files_fail(name: str, bundle: Path, tmp_path: Path, cxredge) -> None:
    make, _, words = BAD_FILES[name]
    make(tmp_path / name)
    ran = cxredge("predict", bundle, tmp_path / name, "--out", tmp_path / "predictions.csv")
    one_line(ran, words)


def test_missing_input(bundle: Path, tmp_path: Path, cxredge) -> None:
    out = tmp_path / "predictions.csv"
    one_line(cxredge("predict", bundle, tmp_path / "gone.png", "--out", out), "does not exist")
    assert list(tmp_path.glob("*predictions*")) == []


def test_folder_without_images(bundle: Path, tmp_path: Path, cxredge) -> None:
    folder, out = tmp_path / "in", tmp_path / "predictions.csv"
    folder.mkdir()
    (folder / "notes.txt").write_text("hello")
    one_line(cxredge("predict", bundle, folder, "--out", out), "No images in", ".png")
    assert list(tmp_path.glob("*predictions*")) == []


def test_unknown_output_format(bundle: Path, phantoms: Path, tmp_path: Path, cxredge) -> None:
    out = tmp_path / "predictions.xlsx"
    one_line(cxredge("predict", bundle, phantoms / "images", "--out", out), ".parquet")
    assert list(tmp_path.glob("*predictions*")) == []


def test_labels_unknown_to_the_model(bundle: Path, phantoms: Path, tmp_path: Path, cxredge) -> None:
    text = (phantoms / "manifest.csv").read_text().replace(",viral,", ",fungal,")
    text = text.replace("images/", f"{phantoms}/images/")
    (tmp_path / "manifest.csv").write_text(text)
    ran = cxredge("evaluate", bundle, tmp_path / "manifest.csv")
    one_line(ran, "fungal", "it has bacterial, covid19, normal, viral")
    assert not (bundle / "results").exists()


@pytest.mark.parametrize("command", ["predict", "verify", "inspect", "deploy"])
def test_a_card_edited_by_hand(
    command: str, bundle: Path, phantoms: Path, tmp_path: Path, cxredge
) -> None:
    card = json.loads((bundle / "card.json").read_text())
    card["facts"]["thresholds"]["fp32"]["covid19"] = 0.01
    (bundle / "card.json").write_text(json.dumps(card, indent=2))
    more = [phantoms / "images", "--out", tmp_path / "p.csv"] if command == "predict" else []
    one_line(cxredge(command, bundle, *more), "card.json was changed")
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize("name", ["model-fp32.onnx", "model-int8.onnx", "golden.npz"])
@pytest.mark.parametrize("command", ["predict", "verify", "evaluate", "bench", "inspect"])
def test_one_byte_flipped(
    name: str, command: str, bundle: Path, phantoms: Path, tmp_path: Path, cxredge
) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)
    more = {
        "predict": [phantoms / "images", "--out", tmp_path / "p.csv"],
        "evaluate": [phantoms / "manifest.csv"],
    }.get(command, [])
    one_line(cxredge(command, bundle, *more), name, "damaged")
    assert not (tmp_path / "p.csv").exists()
    assert not (bundle / "results").exists()


def test_a_folder_that_is_no_bundle(phantoms: Path, tmp_path: Path, cxredge) -> None:
    ran = cxredge("predict", phantoms, phantoms / "images", "--out", tmp_path / "p.csv")
    one_line(ran, "is not a cxredge bundle")
    assert "Build one: cxredge build" in ran.err


def test_the_folder_of_a_manifest_and_a_folder_inside_a_model(
    phantoms: Path, model: Path, tmp_path: Path, cxredge
) -> None:
    for words in (["data", "audit", phantoms], ["inspect", phantoms]):
        ran = cxredge(*words)
        assert f"Give {phantoms / 'manifest.csv'}" in ran.err
    inside = tmp_path / "model" / "results"
    inside.mkdir(parents=True)
    (inside.parent / "card.json").write_bytes((model / "card.json").read_bytes())
    for words in (["inspect", inside], ["verify", inside]):
        ran = cxredge(*words)
        assert ran.code == 1
        assert str(inside.parent) in ran.err.split("card.json", 1)[1]


def test_a_manifest_or_a_list_that_is_not_there(model: Path, tmp_path: Path, cxredge) -> None:
    gone, out = tmp_path / "gone.csv", tmp_path / "out"
    one_line(cxredge("data", "audit", tmp_path), "is a folder; a manifest is a file")
    ran = cxredge("build", model, "--target", "cpu-arm", "--calibration", gone, "--out", out)
    one_line(ran, "The calibration list", "does not exist")
    assert "cxredge calibrate MANIFEST" in ran.err


def test_a_manifest_is_not_replaced_by_a_list_of_its_images(
    phantoms: Path, tmp_path: Path, cxredge
) -> None:
    manifest = Path(shutil.copy(phantoms / "manifest.csv", tmp_path))
    ran = cxredge("calibrate", manifest, "--count", 4, "--out", manifest)
    assert ran.code == 2
    assert "would overwrite the manifest" in ran.err
    assert manifest.read_bytes() == (phantoms / "manifest.csv").read_bytes()


def test_inspect_sends_nobody_to_itself(tmp_path: Path, cxredge) -> None:
    ran = cxredge("inspect", tmp_path)
    one_line(ran, "is not a cxredge artifact: it has no card.json")
    assert "Supported: runs, models, bundles" in ran.err
    cut = tmp_path / "bundle.tar"
    cut.touch()
    one_line(cxredge("inspect", cut), "bundle.tar is empty: 0 bytes")


def test_a_model_is_no_bundle(model: Path, phantoms: Path, tmp_path: Path, cxredge) -> None:
    ran = cxredge("predict", model, phantoms / "images", "--out", tmp_path / "p.csv")
    one_line(ran, "is a cxredge model; expected a bundle")


def test_a_manifest_that_is_none(tmp_path: Path, cxredge) -> None:
    (tmp_path / "list.csv").write_text("a,b\n1,2\n")
    one_line(cxredge("data", "audit", tmp_path / "list.csv"), "lacks the column(s) path")
    one_line(cxredge("data", "audit", tmp_path / "gone.csv"), "gone.csv does not exist")


def test_calibration_on_test_images(model: Path, phantoms: Path, tmp_path: Path, cxredge) -> None:
    ran = cxredge(
        "quantize", model, "--calibration", phantoms / "manifest.csv",
        "--evaluate", phantoms / "manifest.csv", "--out", tmp_path / "int8",
    )  # fmt: skip
    one_line(ran, "outside the training split")
    assert not (tmp_path / "int8").exists()


def test_too_many_calibration_images(phantoms: Path, tmp_path: Path, cxredge) -> None:
    out = tmp_path / "c.csv"
    ran = cxredge("calibrate", phantoms / "manifest.csv", "--count", 100_000, "--out", out)
    one_line(ran, "training images", "--count between")
    assert not out.exists()


def test_unknown_names_offer_the_nearest(
    phantoms: Path, model: Path, tmp_path: Path, cxredge
) -> None:
    ran = cxredge("train", phantoms / "manifest.csv", "--model", "mobilnet_v2", "--out", tmp_path)
    one_line(ran, "Did you mean 'mobilenet_v2'?")
    ran = cxredge("build", model, "--target", "cpu-x68", "--out", tmp_path / "b")
    one_line(ran, "Did you mean 'cpu-x86'?")


def test_a_foreign_folder_is_not_overwritten(model: Path, tmp_path: Path, cxredge) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    one_line(cxredge("build", model, "--precision", "fp32", "--out", tmp_path), "did not write")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict"],
        ["build", "x", "--precision", "int4"],
        ["data", "prepare", "--protocol", "cxr-d"],
        ["nonsense"],
    ],
)
def test_wrong_usage_exits_2(arguments: list[str], cxredge) -> None:
    ran = cxredge(*arguments)
    assert ran.code == 2
    assert ran.out == ""


def test_precision_that_the_target_lacks_is_wrong_usage(
    model: Path, tmp_path: Path, cxredge
) -> None:
    ran = cxredge("build", model, "--precision", "fp16", "--out", tmp_path / "b")
    assert ran.code == 2
    assert "fp32, bf16, int8" in ran.err


@pytest.mark.usefixtures("careless_int8")
def test_a_forced_precision_that_fails_the_gate_exits_3(
    model: Path, calibration: Path, tmp_path: Path, cxredge
) -> None:
    out = tmp_path / "bundle"
    ran = cxredge(
        "build", model, "--precision", "int8", "--calibration", calibration, "--out", out,
        "--min-agreement", 1.0, "--max-accuracy-drop", 0.0, "--json",
    )  # fmt: skip
    assert ran.code == 3
    assert "refused by the gate" in ran.json["error"]
    assert ran.json["gate"]["passed"] is False
    assert not out.exists()


@pytest.mark.usefixtures("careless_int8")
def test_auto_falls_back_on_fp32_and_says_why(
    model: Path, calibration: Path, tmp_path: Path, cxredge
) -> None:
    ran = cxredge(
        "build", model, "--calibration", calibration, "--out", tmp_path / "bundle",
        "--min-agreement", 1.0, "--max-accuracy-drop", 0.0, "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.json["precision"] == "fp32"
    assert "int8 was refused: " in ran.json["reason"]


def test_goldens_that_come_out_differently_exit_3(bundle: Path, cxredge) -> None:
    import numpy as np

    from cxredge.artifacts.card import read_card, write_card
    from cxredge.bundle.card import BundleCard

    arrays = dict(np.load(bundle / "golden.npz"))
    arrays["logits_int8"] = arrays["logits_int8"][:, ::-1]
    np.savez_compressed(bundle / "golden.npz", **arrays)
    card = read_card(bundle, BundleCard)
    (bundle / "passport.json").unlink()
    write_card(bundle, card)
    ran = cxredge("verify", bundle, "--json")
    assert ran.code == 3
    assert "int8 computes different results" in ran.json["error"]
    forced = cxredge("build", bundle, "--precision", "int8")
    assert forced.code == 3
    auto = cxredge("build", bundle, "--json")
    assert auto.code == 0
    assert auto.json["precision"] == "fp32"
