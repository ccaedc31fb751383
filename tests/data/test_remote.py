"""Images in remote storage, read from a real S3 server on this machine."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxredge.data import remote
from cxredge.data.images import load_xray
from cxredge.data.path_list import reading_list
from cxredge.data.places import check_places, place_of, walk_places
from cxredge.data.remote import RemoteFile, is_url, read_remote
from cxredge.data.sources import read_source, sha256_of_source
from cxredge.errors import CxredgeError, DataError, DependencyError, ImageError, ImageProblem
from tests.conftest import Run
from tests.predictions import read_rows
from tests.s3_server import s3_bucket

ROOT = RemoteFile("s3://xrays/set")


@pytest.fixture(scope="module")
def stored(phantoms: Path) -> Iterator[dict[str, bytes]]:
    """Phantoms in a bucket, by key, among files that are no images."""
    some = sorted((phantoms / "images").rglob("*.png"))[:6]
    keys = {f"set/{'ab'[n % 2]}/{path.name}": path.read_bytes() for n, path in enumerate(some)}
    keys |= {"set/c": some[0].read_bytes(), "set/a/notes.txt": b"text", "set/a/z.zip": b"PK"}
    keys |= {"set/empty.png": b"", "set/.hidden.png": b"x"}
    with s3_bucket("xrays") as client:
        found: Any = client
        for key, content in keys.items():
            found.put_object(Bucket="xrays", Key=key, Body=content)
        yield keys


def test_addresses_are_told_from_paths() -> None:
    assert all(map(is_url, ("s3://a/b", "gs://a")))
    assert not any(map(is_url, ("a/b.png", "C:/a", "s3:/a", "://a", "s3://")))
    assert place_of("s3://a/b.png") == RemoteFile("s3://a/b.png")
    assert place_of("a//b.png") == Path("a/b.png")
    assert RemoteFile("s3://a/b/").name == "b"


def test_a_remote_folder_is_walked_as_a_local_one(stored: dict[str, bytes], tmp_path: Path) -> None:
    for key, content in stored.items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(content)
    (tmp_path / "set/a/z.zip").write_bytes(b"")  # a damaged archive is one row, here and there
    skipped, local_skipped = Counter[str](), Counter[str]()
    found = [str(one).removeprefix("s3://xrays/") for one in walk_places([ROOT], skipped)]
    local = walk_places([tmp_path / "set"], local_skipped)
    assert found == [Path(str(one)).relative_to(tmp_path).as_posix() for one in local]
    assert skipped == local_skipped == {".txt": 1, ".png": 1}
    assert "set/c" in found


def test_pixels_and_hashes_are_those_of_the_file(stored: dict[str, bytes], tmp_path: Path) -> None:
    key = next(iter(stored))
    (tmp_path / "a.png").write_bytes(stored[key])
    here, there = tmp_path / "a.png", RemoteFile(f"s3://xrays/{key}")
    assert sha256_of_source(here) == sha256_of_source(there)
    assert np.array_equal(load_xray(here, 64).pixels, load_xray(there, 64).pixels)
    assert read_source(there) == stored[key]
    assert read_remote(there, 7) == stored[key][:7]


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("gone.png", ImageProblem.MISSING),
        ("set/empty.png", ImageProblem.EMPTY),
        ("set/a", ImageProblem.UNREADABLE),
        ("set/a/z.zip", ImageProblem.UNSUPPORTED),
    ],
)
def test_a_file_that_cannot_be_used_says_why(
    key: str, problem: ImageProblem, stored: dict[str, bytes]
) -> None:
    for function in (read_source, lambda source: load_xray(source, 64)):
        with pytest.raises(ImageError, match=f"s3://xrays/{key}") as caught:
            function(RemoteFile(f"s3://xrays/{key}"))
        assert caught.value.problem is problem


def test_at_most_the_limit_is_read(
    stored: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxredge.data.sources.MAX_BYTES", 100)
    with pytest.raises(ImageError) as caught:
        read_source(RemoteFile(f"s3://xrays/{next(iter(stored))}"))
    assert caught.value.problem is ImageProblem.TOO_LARGE


def test_places_are_checked_before_any_work(stored: dict[str, bytes], tmp_path: Path) -> None:
    check_places([ROOT, RemoteFile("s3://xrays/set/c")])
    with pytest.raises(DataError, match="s3://xrays/gone does not exist"):
        check_places([RemoteFile("s3://xrays/gone")])
    (tmp_path / "list.txt").write_text("s3://xrays/set/c\n")
    with reading_list(tmp_path / "list.txt") as images:
        check_places([images])


def test_predict_reads_a_bucket_and_a_list_of_its_files(
    stored: dict[str, bytes], bundle: Path, tmp_path: Path, cxredge: Run
) -> None:
    ran = cxredge("predict", bundle, ROOT, "--out", tmp_path / "a.csv", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["images"] == 9
    rows = read_rows(tmp_path / "a.csv")
    assert [row["path"] for row in rows if row["status"] not in ("ok", "unfamiliar")] == [
        "s3://xrays/set/a/z.zip", "s3://xrays/set/empty.png",
    ]  # fmt: skip
    (tmp_path / "list.txt").write_text("".join(f"{row['path']}\n" for row in rows))
    ran = cxredge("predict", bundle, "--paths", tmp_path / "list.txt", "--out", tmp_path / "b.csv")
    assert ran.code == 0, ran.err
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


class Refusing:
    """A store that refuses with a code, as botocore's errors carry it."""

    def __init__(self, code: str | None) -> None:
        self._code = code

    def info(self, url: str) -> None:
        cause = OSError()
        cause.response = {"Error": {"Code": self._code}}  # type: ignore[attr-defined]
        raise PermissionError(self._code) from cause


@pytest.mark.parametrize(
    ("code", "kind"), [("AccessDenied", ImageError), ("ExpiredToken", DataError)]
)
def test_an_expired_token_stops_instead_of_failing_every_image(
    code: str, kind: type[CxredgeError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_files", lambda _: Refusing(code))
    with pytest.raises(kind, match=code):
        read_source(RemoteFile("s3://xrays/a.png"))


def test_a_storage_that_does_not_answer_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        def info(self, url: str) -> None:
            raise ConnectionError("no route")

    monkeypatch.setattr(remote, "_files", lambda _: Silent())
    with pytest.raises(DataError, match="ConnectionError: no route") as caught:
        check_places([ROOT])
    assert "--resume" in caught.value.hint


def test_protocols_that_cannot_be_read_name_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(protocol: str, **_: object) -> None:
        raise ImportError("Install gcsfs")

    remote._opened.cache_clear()
    with pytest.raises(DataError, match=r"file:// is a local file"):
        check_places([RemoteFile("file:///a.png")])
    fsspec = pytest.importorskip("fsspec", reason="needs the extra remote")
    with pytest.raises(DataError, match=r"nosuch:// is not a protocol that fsspec knows"):
        check_places([RemoteFile("nosuch://a.png")])
    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(DependencyError) as caught:
        check_places([ROOT])
    assert "pip install 'cxredge[s3]'" in caught.value.hint
    with pytest.raises(DependencyError) as caught:
        check_places([RemoteFile("gs://a.png")])
    assert caught.value.hint == "Install gcsfs"
    monkeypatch.setitem(sys.modules, "fsspec", None)
    remote._opened.cache_clear()
    with pytest.raises(DependencyError, match="requires the Python package 'fsspec'"):
        check_places([RemoteFile("gs://a.png")])
    remote._opened.cache_clear()
