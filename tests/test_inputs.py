from collections import Counter
from pathlib import Path

import pytest

from cxredge.errors import DataError
from cxredge.inputs import check_inputs, walk_images


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def walked(*paths: Path) -> tuple[list[Path], Counter[str]]:
    skipped: Counter[str] = Counter()
    return list(walk_images(paths, skipped)), skipped


def test_folders_are_walked_in_sorted_order_at_every_level(tmp_path: Path) -> None:
    names = ["10.png", "2.png", "B.png", "a.png", "b/1.png", "b/c/0.png", "b/d.png", "c.png"]
    tree(tmp_path, *reversed(names))
    found, skipped = walked(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == names
    assert not skipped


def test_extensions_count_in_any_case_and_the_rest_is_counted(tmp_path: Path) -> None:
    tree(
        tmp_path, "a.PNG", "b.Jpg", "c.jpeg", "d.JPEG", "e.dcm", "f/g.DCM", "h.gif", "README",
        "f/README", "i.tar.gz",
    )  # fmt: skip
    found, skipped = walked(tmp_path)
    assert [path.name for path in found] == ["a.PNG", "b.Jpg", "c.jpeg", "d.JPEG"]
    assert skipped == {".dcm": 2, ".gif": 1, "README": 2, ".gz": 1}


def test_hidden_files_are_skipped_and_counted(tmp_path: Path) -> None:
    tree(tmp_path, "a.png", "._a.png", ".b.png", ".DS_Store")
    found, skipped = walked(tmp_path)
    assert [path.name for path in found] == ["a.png"]
    assert skipped == {".png": 2, ".DS_Store": 1}


def test_folder_named_like_an_image_is_walked(tmp_path: Path) -> None:
    tree(tmp_path, "x.png/inside.png")
    assert walked(tmp_path)[0] == [tmp_path / "x.png" / "inside.png"]


def test_files_given_by_name_are_taken_as_they_are_in_the_order_given(tmp_path: Path) -> None:
    tree(tmp_path, "z.txt", "a.png", "folder/1.png", ".hidden.png")
    given = [tmp_path / name for name in ("z.txt", "folder", "a.png", ".hidden.png", "a.png")]
    found, skipped = walked(*given)
    assert [path.name for path in found] == ["z.txt", "1.png", "a.png", ".hidden.png", "a.png"]
    assert not skipped


@pytest.mark.parametrize(
    "name", ["a b.png", "new\nline.png", "r\udcf6ntgen.png", "胸.png", "-q.png", "*.png"]
)
def test_odd_file_names_are_found(tmp_path: Path, name: str) -> None:
    tree(tmp_path, name)
    (path,) = walked(tmp_path)[0]
    assert path.name == name
    assert path.is_file()


def test_dangling_link_is_an_input_that_will_fail_not_one_that_vanishes(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    assert walked(tmp_path)[0] == [tmp_path / "a.png"]


def test_linked_folder_is_walked(tmp_path: Path) -> None:
    tree(tmp_path, "disk/1.png", "given/0.png")
    (tmp_path / "given" / "more").symlink_to(tmp_path / "disk")
    assert [path.name for path in walked(tmp_path / "given")[0]] == ["0.png", "1.png"]


def test_link_back_to_a_parent_gives_no_image_twice(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.png", "a/b/2.png")
    (tmp_path / "a" / "b" / "loop").symlink_to(tmp_path / "a")
    assert [path.name for path in walked(tmp_path)[0]] == ["1.png", "2.png"]


def test_walk_is_lazy(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.png", "b/1.png")
    found = walk_images([tmp_path], Counter())
    assert next(found) == tmp_path / "a" / "1.png"
    tree(tmp_path, "b/2.png")
    assert len(list(found)) == 2


def test_inputs_with_an_image_are_accepted(tmp_path: Path) -> None:
    tree(tmp_path, "deep/er/a.png", "text.txt", "empty/notes.txt")
    check_inputs([tmp_path])
    check_inputs([tmp_path / "text.txt"])
    check_inputs([tmp_path / "empty", tmp_path / "deep"])


def test_inputs_without_an_image_are_refused_by_name(tmp_path: Path) -> None:
    tree(tmp_path, "one/notes.txt", "two/.hidden.png")
    with pytest.raises(DataError, match=f"No images in {tmp_path}/one, {tmp_path}/two"):
        check_inputs([tmp_path / "one", tmp_path / "two"])


def test_missing_input_is_refused_even_beside_good_ones(tmp_path: Path) -> None:
    tree(tmp_path, "a.png")
    with pytest.raises(DataError, match=r"gone\.png does not exist"):
        check_inputs([tmp_path / "a.png", tmp_path / "gone.png"])
