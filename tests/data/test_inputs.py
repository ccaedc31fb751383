import io
import os
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxredge.data.images import load_grey
from cxredge.data.inputs import check_inputs, walk_images
from cxredge.data.sources import ImageSource
from cxredge.data.zip_members import ZipMember
from cxredge.errors import DataError, DependencyError, ImageError, ImageProblem

DICOM = b"\0" * 128 + b"DICM"


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def walked(*paths: Path) -> tuple[list[ImageSource], Counter[str]]:
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
        "f/README", "f/h.GIF", "i.tar.gz",
    )  # fmt: skip
    found, skipped = walked(tmp_path)
    assert [path.name for path in found] == [
        "a.PNG", "b.Jpg", "c.jpeg", "d.JPEG", "e.dcm", "g.DCM",
    ]  # fmt: skip
    assert skipped == {".gif": 2, "README": 2, ".gz": 1}


def test_hidden_files_are_skipped_and_counted(tmp_path: Path) -> None:
    tree(tmp_path, "a.png", "._a.png", ".b.png", ".DS_Store")
    found, skipped = walked(tmp_path)
    assert [path.name for path in found] == ["a.png"]
    assert skipped == {".png": 2, ".DS_Store": 1}


def test_folder_named_like_an_image_is_walked(tmp_path: Path) -> None:
    tree(tmp_path, "x.png/inside.png")
    assert walked(tmp_path)[0] == [tmp_path / "x.png" / "inside.png"]


def test_files_given_by_name_are_kept_in_the_given_order(tmp_path: Path) -> None:
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


def test_dicom_without_the_extra_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "IM0001").write_bytes(DICOM)
    check_inputs([tmp_path])
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(DependencyError, match="IM0001 is DICOM") as caught:
        check_inputs([tmp_path])
    assert caught.value.hint == "pip install 'cxredge[dicom]'"


def png(grey: int = 7) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (40, 40), grey).save(stream, "PNG")
    return stream.getvalue()


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def problem_of(source: ImageSource) -> ImageProblem:
    with pytest.raises(ImageError) as caught:
        load_grey(source, 32)
    assert str(source) in caught.value.message
    return caught.value.problem


def test_dicom_is_found_by_its_content_and_its_index_is_no_image(tmp_path: Path) -> None:
    tree(tmp_path, "notes")
    for name in ("IM000001", "scan.ima", "DICOMDIR", ".hidden"):
        (tmp_path / name).write_bytes(DICOM)
    found, skipped = walked(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in found] == ["IM000001", "scan.ima"]
    assert skipped == {"notes": 1, "DICOMDIR": 1, ".hidden": 1}


def test_links_between_siblings_give_each_file_once(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a")
    (tmp_path / "c").symlink_to(tmp_path / "a")
    assert [path.name for path in walked(tmp_path)[0]] == ["1.png", "2.png"]


def test_a_link_to_itself_is_an_input_that_fails(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "b").symlink_to(tmp_path / "b")
    assert walked(tmp_path)[0] == [tmp_path / "a.png"]
    assert problem_of(tmp_path / "a.png") is ImageProblem.UNREADABLE


def test_a_folder_that_cannot_be_listed_has_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, "a/1.png", "closed/2.png", "z.png")
    listing = os.scandir

    def closed(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", closed)
    names = [path.name for path in walked(tmp_path)[0]]
    assert names == ["1.png", "closed", "z.png"]
    assert problem_of(tmp_path / "closed") is ImageProblem.UNREADABLE


def test_a_folder_that_goes_away_has_a_row(tmp_path: Path) -> None:
    tree(tmp_path, "a.png", "b/1.png", "c.png")
    found = walk_images([tmp_path], Counter())
    next(found)
    (tmp_path / "b" / "1.png").unlink()
    (tmp_path / "b").rmdir()
    assert [path.name for path in found] == ["b", "c.png"]
    assert problem_of(tmp_path / "b") is ImageProblem.MISSING


def test_a_pipe_with_the_name_of_an_image_does_not_block(tmp_path: Path) -> None:
    for name in ("a.png", "b"):
        os.mkfifo(tmp_path / name)
    assert [path.name for path in walked(tmp_path)[0]] == ["a.png"]
    assert problem_of(tmp_path / "a.png") is ImageProblem.UNREADABLE


def test_members_of_archives_are_walked_like_files_of_folders(tmp_path: Path) -> None:
    members = {"b/2.png": png(2), "b.png": png(1), "a/1.JPG": png(3), "c/IM1": DICOM,
               "notes.txt": b"x", "b/.3.png": png(), "DICOMDIR": DICOM}  # fmt: skip
    archive = zipped(tmp_path / "x.zip", **members)
    with zipfile.ZipFile(archive) as unpack:
        unpack.extractall(tmp_path / "folder")
    found, skipped = walked(archive)
    in_folder, skipped_in_folder = walked(tmp_path / "folder")
    inner = [str(member).removeprefix(f"{archive}/") for member in found]
    assert inner == [path.relative_to(tmp_path / "folder").as_posix() for path in in_folder]
    assert inner == ["a/1.JPG", "b/2.png", "b.png", "c/IM1"]
    assert skipped == skipped_in_folder == {".txt": 1, ".png": 1, "DICOMDIR": 1}
    np.testing.assert_array_equal(load_grey(found[2], 40), np.full((40, 40), 1))
    assert sorted(tmp_path.iterdir()) == [tmp_path / "folder", archive]


def test_archives_are_found_in_folders(tmp_path: Path) -> None:
    tree(tmp_path, "a.png", "c.png")
    zipped(tmp_path / "b.ZIP", **{"1.png": png()})
    assert [str(source) for source in walked(tmp_path)[0]] == [
        f"{tmp_path}/a.png", f"{tmp_path}/b.ZIP/1.png", f"{tmp_path}/c.png",
    ]  # fmt: skip


def test_forbidden_members_of_an_archive_are_refused_with_a_row(tmp_path: Path) -> None:
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as writing:
        link = zipfile.ZipInfo("1-link.png")
        link.external_attr = 0o120777 << 16
        writing.writestr(link, "/etc/passwd")
        writing.writestr(
            "2-nested.zip", zipped(tmp_path / "n.zip", **{"a.png": png()}).read_bytes()
        )
        writing.writestr("3-empty.png", b"")
        writing.writestr("4-text.png", b"hello")
        writing.writestr("5-lzma.png", png(), zipfile.ZIP_LZMA)
        writing.writestr("../6-outside.png", png())
    found, _ = walked(archive)
    by_name = {source.name: source for source in found if isinstance(source, ZipMember)}
    expected = {
        "1-link.png": ImageProblem.LINK,
        "2-nested.zip": ImageProblem.NESTED_ARCHIVE,
        "3-empty.png": ImageProblem.EMPTY,
        "4-text.png": ImageProblem.UNREADABLE,
        "5-lzma.png": ImageProblem.UNSUPPORTED,
    }
    assert {name: problem_of(by_name[name]) for name in expected} == expected
    assert load_grey(by_name["../6-outside.png"], 32).shape == (32, 32)


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", **{"a.png": png()})
    content = bytearray(archive.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(content)
    assert problem_of(walked(archive)[0][0]) is ImageProblem.ENCRYPTED


def test_a_member_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zipped(tmp_path / "x.zip", **{"a.png": png() + bytes(2_000_000)})
    monkeypatch.setattr("cxredge.data.zip_members.MAX_MEMBER_BYTES", 1_000_000)
    assert archive.stat().st_size < 10_000
    assert problem_of(walked(archive)[0][0]) is ImageProblem.TOO_LARGE


def test_damaged_archives_and_members_have_a_row(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", **{"a.png": bytes(png()) + os.urandom(5000)})
    whole = archive.read_bytes()
    archive.write_bytes(whole[:3000] + b"?" + whole[3001:])
    assert problem_of(walked(archive)[0][0]) is ImageProblem.TRUNCATED
    archive.write_bytes(whole[:-30])
    os.utime(archive, ns=(1, 1))
    assert walked(archive)[0] == [archive]
    assert problem_of(archive) is ImageProblem.UNREADABLE


def test_an_archive_that_changes_is_noticed(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", **{"a.png": png(), "b.png": png()})
    members, _ = walked(archive)
    zipped(archive, **{"c.png": png()})
    os.utime(archive, ns=(1, 1))
    assert [problem_of(member) for member in members] == [ImageProblem.MISSING] * 2
    archive.unlink()
    assert problem_of(members[0]) is ImageProblem.MISSING


@pytest.mark.parametrize("name", ["a.zip", "a.png", "a.dcm", "plain"])
@pytest.mark.parametrize("what", ["pipe", "device", "endless"])
def test_what_is_no_regular_file_is_refused_whatever_its_name(
    name: str, what: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if what == "device" else "/proc/self/mem")
    found, skipped = walked(path)
    assert (found, skipped) == ([path], {})
    with pytest.raises(ImageError) as caught:
        load_grey(path, 32)
    expected = ImageProblem.EMPTY if what == "endless" else ImageProblem.UNREADABLE
    assert caught.value.problem is expected
    found, skipped = walked(tmp_path)
    assert found == ([] if name == "plain" else [path])
    assert skipped == ({"plain": 1} if name == "plain" else {})
