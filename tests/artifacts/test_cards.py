"""The card and the files that it lists: changes to either are found."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxredge.artifacts.card import CARD_NAME, ArtifactKind, check_files, read_card, write_card
from cxredge.artifacts.hashing import sha256_of_file
from cxredge.artifacts.model_card import ExportedCard, HalfPrecisionCard
from cxredge.artifacts.run_card import RunCard
from cxredge.bundle.card import BundleCard
from cxredge.errors import ArtifactError
from tests.artifacts.conftest import CARD, edit_card


def test_card_survives_the_round_trip(model: Path) -> None:
    card = read_card(model, RunCard, ExportedCard)
    assert card == replace(CARD, files=card.files)
    assert card.classifier.classes == ("normal", "röntgen")
    assert card.files == {
        "model.onnx": sha256_of_file(model / "model.onnx"),
        "deep/notes.txt": sha256_of_file(model / "deep" / "notes.txt"),
    }
    check_files(model, card)


def test_same_card_gives_the_same_bytes(tmp_path: Path, model: Path) -> None:
    first = (model / CARD_NAME).read_bytes()
    written = write_card(model, CARD)
    assert (model / CARD_NAME).read_bytes() == first
    assert written == read_card(model, ExportedCard)
    other = tmp_path / "other"
    (other / "deep").mkdir(parents=True)
    (other / "deep" / "notes.txt").write_text("notes")
    (other / "model.onnx").write_bytes(bytes(range(256)))
    write_card(other, CARD)
    assert (other / CARD_NAME).read_bytes() == first


def test_files_that_are_no_part_of_the_artifact_are_not_listed(model: Path) -> None:
    (model / "log.txt").write_text("log")
    card = write_card(model, CARD, without=("log.txt",))
    assert set(card.files) == {"model.onnx", "deep/notes.txt"}


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["facts"].update(parity_max_abs=0.0),
        lambda body: body["config"].update(precision="int8"),
        lambda body: body["classifier"]["classes"].reverse(),
        lambda body: body["classifier"].update(input_size=256),
        lambda body: body["files"].popitem(),
        lambda body: body["files"].update({"model.onnx": "0" * 64}),
        lambda body: body.update(kind="run"),
        lambda body: body.update(kind="modem"),
        lambda body: body.update(schema="cxredge.model/2"),
        lambda body: body.update(card_sha256="0" * 64),
    ],
)
def test_card_edited_by_hand_is_detected(
    model: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    edit_card(model, change)
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        read_card(model, ExportedCard)


def test_card_that_was_only_reformatted_is_intact(model: Path) -> None:
    body = json.loads((model / CARD_NAME).read_text())
    (model / CARD_NAME).write_text(json.dumps(dict(reversed(body.items()))))
    assert read_card(model, ExportedCard).kind is ArtifactKind.MODEL


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"3", b'"x"', b"{}", b"{", b"\xff\xfe", b'{"card_sha256": 1}']
)
def test_card_that_is_no_card_is_refused(model: Path, content: bytes) -> None:
    (model / CARD_NAME).write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        read_card(model, ExportedCard)
    assert str(model) in caught.value.message


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.update(surprise=1),
        lambda body: body.pop("parents"),
        lambda body: body["classifier"].pop("mean"),
        lambda body: body.update(classifier=None),
        lambda body: body.update(kind="sandwich"),
        lambda body: body.update(schema="cxredge.model/99"),
        lambda body: body.update(schema="cxredge.run/1"),
    ],
)
def test_well_signed_card_of_another_shape_is_refused(
    model: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    edit_card(model, change, sign=True)
    with pytest.raises(ArtifactError):
        read_card(model, ExportedCard)


def test_folder_without_card_and_other_kinds_are_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ArtifactError, match="is not a cxredge run or bundle"):
        read_card(tmp_path, RunCard, BundleCard)
    with pytest.raises(ArtifactError, match="is a cxredge model; expected a run or bundle"):
        read_card(model, RunCard, BundleCard)


def test_a_model_of_another_precision_is_named(model: Path) -> None:
    with pytest.raises(ArtifactError, match="is a cxredge model in fp32; expected a model in fp16"):
        read_card(model, HalfPrecisionCard)


@pytest.mark.parametrize("position", [0, 100, 255])
def test_one_flipped_bit_is_detected(model: Path, position: int) -> None:
    card = read_card(model, ExportedCard)
    content = bytearray((model / "model.onnx").read_bytes())
    content[position] ^= 1
    (model / "model.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model\.onnx is damaged"):
        check_files(model, card)


@pytest.mark.parametrize("name", ["model.onnx", "deep/notes.txt"])
def test_missing_or_cut_file_is_detected(model: Path, name: str) -> None:
    card = read_card(model, ExportedCard)
    (model / name).write_bytes((model / name).read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="is damaged"):
        check_files(model, card)
    (model / name).unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        check_files(model, card)


@pytest.mark.parametrize("name", ["../secret", "deep/../../secret", "{outside}/secret", "link"])
def test_card_cannot_name_files_outside_its_folder(model: Path, name: str) -> None:
    outside = model.parent
    (outside / "secret").write_text("secret")
    (model / "link").symlink_to(outside / "secret")
    files = {name.format(outside=outside): sha256_of_file(outside / "secret")}
    with pytest.raises(ArtifactError, match="names a file outside its folder"):
        check_files(model, replace(read_card(model, ExportedCard), files=files))
