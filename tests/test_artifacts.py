import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxredge.artifacts import (
    CARD_NAME,
    Card,
    Classifier,
    Kind,
    check_files,
    read_card,
    read_json,
    sha256_of_file,
    sha256_of_json,
    tool_versions,
    up_to_date,
    write_card,
    write_json,
    write_text,
)
from cxredge.atomic import atomic_file, atomic_folder, check_replaceable
from cxredge.errors import ArtifactError

CLASSIFIER = Classifier("mobilenet_v1", ("normal", "viral"), 224, 0.5, 0.25, "grey-square/1")
CARD = Card(
    Kind.MODEL,
    CLASSIFIER,
    parents={"run": "ab" * 32},
    config={"precision": "int8", "nested": {"list": [1, 2.5, None]}, "name": "röntgen"},
    facts={"parity_max_abs": 1e-6},
    tools={"cxredge": "1.0"},
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(bytes(range(256)))
    (folder / "deep" / "notes.txt").write_text("notes")
    write_card(folder, CARD)
    return folder


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def edit_card(folder: Path, change: Callable[[dict[str, Any]], None], sign: bool = False) -> None:
    body = json.loads((folder / CARD_NAME).read_text())
    change(body)
    if sign:
        body.pop("card_sha256", None)
        body["card_sha256"] = sha256_of_json(body)
    (folder / CARD_NAME).write_text(json.dumps(body))


def write_half_a_file(path: Path, error: type[BaseException]) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text("half")
        raise error


def write_half_a_folder(path: Path, error: type[BaseException]) -> None:
    with atomic_folder(path) as temporary:
        (temporary / "half").touch()
        raise error


def test_file_appears_only_when_the_block_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.parent == path.parent
    assert path.read_text() == "whole"
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("old", [None, "old"])
def test_failed_file_leaves_nothing_and_keeps_the_old_one(
    tmp_path: Path, error: type[BaseException], old: str | None
) -> None:
    path = tmp_path / "a.txt"
    if old:
        path.write_text(old)
    with pytest.raises(error):
        write_half_a_file(path, error)
    assert names(tmp_path) == (["a.txt"] if old else [])
    assert not old or path.read_text() == old


def test_file_cannot_replace_a_folder_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError), atomic_file(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_and_folders_have_the_mode_that_the_umask_asks(
    tmp_path: Path, umask: Callable[[int], int], mask: int
) -> None:
    umask(mask)
    write_text(tmp_path / "a.txt", "x")
    with atomic_folder(tmp_path / "folder"):
        pass
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o666 & ~mask
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~mask
    assert umask(mask) == mask


def test_folder_appears_whole_and_replaces_one_of_ours(tmp_path: Path, model: Path) -> None:
    with atomic_folder(model) as temporary:
        (temporary / "new.txt").write_text("new")
        assert (model / "model.onnx").exists()
    assert names(model) == ["new.txt"]
    assert names(tmp_path) == ["model", "model/new.txt"]


def test_folder_goes_where_nothing_or_an_empty_folder_is(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "not" / "yet"):
        with atomic_folder(path) as temporary:
            (temporary / "a").touch()
        assert names(path) == ["a"]
    assert names(tmp_path) == ["empty", "empty/a", "not", "not/yet", "not/yet/a"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failed_folder_leaves_nothing_and_keeps_the_old_one(
    tmp_path: Path, model: Path, error: type[BaseException]
) -> None:
    before = names(tmp_path)
    for path in (model, tmp_path / "fresh"):
        with pytest.raises(error):
            write_half_a_folder(path, error)
    assert names(tmp_path) == before
    check_files(model, read_card(model))


def test_folder_of_somebody_else_is_refused_before_any_work(tmp_path: Path) -> None:
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.tex").write_text("years of work")
    with pytest.raises(ArtifactError, match="did not write"), atomic_folder(foreign):
        pytest.fail("the block must not run")
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="is a file"), atomic_folder(tmp_path / "file"):
        pytest.fail("the block must not run")
    assert names(tmp_path) == ["file", "thesis", "thesis/chapter.tex"]


@pytest.mark.parametrize("content", ["{}", '{"name": "my business card"}', "not json"])
def test_folder_with_a_card_that_is_not_ours_is_refused(tmp_path: Path, content: str) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / CARD_NAME).write_text(content)
    (foreign / "precious.txt").touch()
    with pytest.raises(ArtifactError):
        check_replaceable(foreign)


def test_an_artifact_of_another_kind_is_kept(model: Path) -> None:
    check_replaceable(model, "model")
    with pytest.raises(ArtifactError, match="holds a model, no bundle"):
        check_replaceable(model, "bundle")


def test_artifact_of_ours_can_be_made_again_after_its_card_was_edited(model: Path) -> None:
    edit_card(model, lambda body: body["facts"].clear())
    check_replaceable(model)


def test_link_to_an_artifact_works_or_is_refused_before_the_work(
    tmp_path: Path, model: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(model, target_is_directory=True)
    try:
        check_replaceable(link)
    except ArtifactError:
        return
    with atomic_folder(link) as temporary:
        (temporary / "new.txt").write_text("new")
    assert names(link) == ["new.txt"]
    assert {path.name for path in tmp_path.iterdir()} == {"link", "model"}


def test_card_survives_the_round_trip(model: Path) -> None:
    card = read_card(model, Kind.RUN, Kind.MODEL)
    assert card == replace(CARD, files=card.files)
    assert card.classifier.classes == ("normal", "viral")
    assert card.files == {
        "model.onnx": sha256_of_file(model / "model.onnx"),
        "deep/notes.txt": sha256_of_file(model / "deep" / "notes.txt"),
    }
    check_files(model, card)


def test_same_card_gives_the_same_bytes(tmp_path: Path, model: Path) -> None:
    first = (model / CARD_NAME).read_bytes()
    written = write_card(model, CARD)
    assert (model / CARD_NAME).read_bytes() == first
    assert written == read_card(model)
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
        lambda body: body["config"].update(precision="fp32"),
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
        read_card(model)


def test_card_that_was_only_reformatted_is_intact(model: Path) -> None:
    body = json.loads((model / CARD_NAME).read_text())
    (model / CARD_NAME).write_text(json.dumps(dict(reversed(body.items()))))
    assert read_card(model).kind is Kind.MODEL


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"3", b'"x"', b"{}", b"{", b"\xff\xfe", b'{"card_sha256": 1}']
)
def test_card_that_is_no_card_is_refused(model: Path, content: bytes) -> None:
    (model / CARD_NAME).write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        read_card(model)
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
        read_card(model)


def test_folder_without_card_and_other_kinds_are_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ArtifactError, match="is not a cxredge run or bundle"):
        read_card(tmp_path, Kind.RUN, Kind.BUNDLE)
    with pytest.raises(ArtifactError, match="is a cxredge model; expected a run or bundle"):
        read_card(model, Kind.RUN, Kind.BUNDLE)


@pytest.mark.parametrize("position", [0, 100, 255])
def test_one_flipped_bit_is_detected(model: Path, position: int) -> None:
    card = read_card(model)
    content = bytearray((model / "model.onnx").read_bytes())
    content[position] ^= 1
    (model / "model.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"model\.onnx is damaged"):
        check_files(model, card)


@pytest.mark.parametrize("name", ["model.onnx", "deep/notes.txt"])
def test_missing_or_cut_file_is_detected(model: Path, name: str) -> None:
    card = read_card(model)
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
        check_files(model, replace(read_card(model), files=files))


def test_artifact_of_the_same_inputs_is_up_to_date(model: Path) -> None:
    later = replace(CARD, facts={"other": "findings"}, files={})
    assert up_to_date(model, later) == read_card(model)


@pytest.mark.parametrize(
    "change",
    [
        {"parents": {"run": "cd" * 32}},
        {"config": {"precision": "fp32"}},
        {"tools": {"cxredge": "1.1"}},
        {"kind": Kind.BUNDLE},
    ],
)
def test_artifact_of_other_inputs_is_not_up_to_date(model: Path, change: dict[str, Any]) -> None:
    assert up_to_date(model, replace(CARD, **change)) is None


def test_broken_or_absent_artifact_is_not_up_to_date(tmp_path: Path, model: Path) -> None:
    assert up_to_date(tmp_path / "none", CARD) is None
    edit_card(model, lambda body: body["facts"].clear())
    assert up_to_date(model, CARD) is None
    write_card(model, CARD)
    assert up_to_date(model, CARD)
    (model / "model.onnx").write_bytes(b"x")
    assert up_to_date(model, CARD) is None


def test_stage_key_does_not_depend_on_order_or_on_json(model: Path) -> None:
    turned = replace(CARD, config=dict(reversed(CARD.config.items())))
    assert turned.stage_key == CARD.stage_key == read_card(model).stage_key
    as_tuple = replace(CARD, config={**CARD.config, "nested": {"list": (1, 2.5, None)}})
    assert as_tuple.stage_key == CARD.stage_key


def test_hash_of_a_file_is_that_of_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    (tmp_path / "large").write_bytes(b"a" * 3_000_000)
    assert sha256_of_file(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    (tmp_path / "larger").write_bytes(b"a" * 2_999_999 + b"b")
    assert sha256_of_file(tmp_path / "large") != sha256_of_file(tmp_path / "larger")


def test_json_file_is_readable_and_refuses_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [1, None, "ö"]})
    assert read_json(tmp_path / "a.json") == {"a": [1, None, "ö"]}
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert names(tmp_path) == ["a.json"]


def test_missing_and_broken_json_are_artifact_errors(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_bytes(b'{"a": \xff')
    for path in (tmp_path / "none.json", tmp_path / "broken.json"):
        with pytest.raises(ArtifactError, match=str(path)):
            read_json(path)


def test_tool_versions_list_what_is_installed() -> None:
    found = tool_versions("numpy", "no-such-package-at-all")
    assert set(found) == {"cxredge", "python", "numpy"}
