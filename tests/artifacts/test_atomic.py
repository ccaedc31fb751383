"""Files and folders appear whole or not at all, and replace only what is ours."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cxredge.artifacts.atomic import atomic_file, write_text
from cxredge.artifacts.card import CARD_NAME, check_files, read_card
from cxredge.artifacts.folder import atomic_folder, check_replaceable
from cxredge.artifacts.model_card import ExportedCard
from cxredge.errors import ArtifactError
from tests.artifacts.conftest import edit_card, names


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


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
    check_files(model, read_card(model, ExportedCard))


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
    with pytest.raises(ArtifactError, match="holds a model, not a bundle"):
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
