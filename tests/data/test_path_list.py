"""Lists of images, one path or address per line."""

from __future__ import annotations

import io
import os
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from cxredge.data.path_list import STDIN, PathList, reading_list
from cxredge.data.places import check_places, local_roots, walk_places
from cxredge.data.remote import RemoteFile
from cxredge.errors import DataError


def listed(file: Path) -> list[object]:
    with reading_list(file) as images:
        return list(images.images())


def test_a_line_is_an_image_and_relative_paths_begin_at_the_folder_of_the_list(
    tmp_path: Path,
) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes(b"\xef\xbb\xbfa.png\r\n\n/b/c d.png \n  \ns3://bucket/e.png\nz.zip\nf\xe9.png")
    assert listed(file) == [
        tmp_path / "a.png",
        Path("/b/c d.png "),
        RemoteFile("s3://bucket/e.png"),
        tmp_path / "z.zip",
        tmp_path / os.fsdecode(b"f\xe9.png"),
    ]


def test_standard_input_is_read_once_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"a.png\nb.png\n")))
    with reading_list(STDIN) as images:
        assert list(images.images()) == list(images.images()) == [Path("a.png"), Path("b.png")]
        assert str(images) == "the list on standard input"
        copy = images.file
    assert not copy.exists()


@pytest.mark.parametrize("content", [b"", b"\n \n\xef\xbb\xbf"[:3]])
def test_an_empty_list_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(DataError, match="names no image"):
        listed(tmp_path / "list.txt")


def test_what_is_not_a_list_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in (
        (tmp_path / "gone", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "pipe", "not a regular file, but a pipe"),
    ):
        with pytest.raises(DataError, match=said):
            listed(path)
    (tmp_path / "long").write_bytes(b"a\n" + b"x" * 70_000)
    with pytest.raises(DataError, match=r"Line 2 of .*long has more than 65536 bytes"):
        listed(tmp_path / "long")


def test_a_list_is_walked_line_by_line_and_other_places_as_before(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("in/b.png", "in/a.png", "in/x.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "list.txt").write_text("in\ngone.png\nin/a.png\n")
    skipped: Counter[str] = Counter()
    with reading_list(tmp_path / "list.txt") as images:
        places = [tmp_path / "in", images]
        check_places(places)
        assert list(walk_places(places, skipped)) == [
            tmp_path / "in/a.png",
            tmp_path / "in/b.png",
            tmp_path / "in",
            tmp_path / "gone.png",
            tmp_path / "in/a.png",
        ]
        assert local_roots(places) == [tmp_path / "in", tmp_path / "in"]
    assert skipped == {".txt": 1}


def test_lists_of_equal_content_have_equal_hashes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("1.png\n")
    one, two = (PathList(tmp_path / name, tmp_path, name) for name in ("a", "b"))
    assert one.sha256() == two.sha256()
