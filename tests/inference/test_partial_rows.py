"""Partial files: kept beside the old file, and resumed."""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

import pytest

from cxredge.errors import ArtifactError, CxredgeError
from cxredge.inference.predictions_file import RowWriter
from tests.row_files import CLASSES, JOB, ROWS, as_dictionaries, partial_of, read_csv, write


def test_the_old_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", ROWS[:1])
    before = path.read_bytes()
    writer = RowWriter(path, CLASSES, JOB, resume=False)
    writer.append(ROWS)
    assert path.read_bytes() == before
    writer.close()
    assert path.read_bytes() == before
    writer = RowWriter(path, CLASSES, JOB, resume=True)
    assert writer.rows == len(ROWS)
    writer.finish()
    assert read_csv(path) == as_dictionaries(ROWS)
    assert not partial_of(path).exists()


def test_rows_are_on_disk_as_soon_as_they_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    writer = RowWriter(path, CLASSES, JOB, resume=False)
    for count, row in enumerate(ROWS, start=2):
        writer.append([row])
        assert partial_of(path).read_bytes().count(b"\n") == count
    assert not path.exists()


@pytest.mark.parametrize("resume", [False, True])
def test_two_writers_do_not_share_a_file(tmp_path: Path, resume: bool) -> None:
    path = tmp_path / "p.csv"
    with RowWriter(path, CLASSES, JOB, resume=False) as writer:
        writer.append(ROWS[:1])
        before = partial_of(path).read_bytes()
        with pytest.raises(CxredgeError, match="Another prediction is writing"):
            RowWriter(path, CLASSES, JOB, resume=resume)
        assert partial_of(path).read_bytes() == before
        writer.append(ROWS[1:])
        writer.finish()
    assert read_csv(path) == as_dictionaries(ROWS)


def test_a_partial_file_without_rows_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    with RowWriter(path, CLASSES, JOB, resume=False):
        assert list(tmp_path.iterdir()) == [partial_of(path)]
    assert not list(tmp_path.iterdir())
    with RowWriter(path, CLASSES, JOB, resume=False) as writer:
        writer.append(ROWS)
    assert list(tmp_path.iterdir()) == [partial_of(path)]


def test_rows_are_resumed_after_a_whole_batch(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    for rows, whole in ((0, 0), (1, 0), (2, 2), (3, 2), (4, 4)):
        with RowWriter(path, CLASSES, JOB, resume=False) as writer:
            writer.append(ROWS[:rows])
        with RowWriter(path, CLASSES, JOB, resume=True, batch=2) as writer:
            assert writer.rows == whole
            assert [row["path"] for row in writer.kept()] == [row.path for row in ROWS[:whole]]
            writer.append(ROWS[whole:])
            writer.finish()
        assert read_csv(path) == as_dictionaries(ROWS)


def test_a_full_disk_keeps_only_whole_rows(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with RowWriter(path, CLASSES, JOB, resume=False) as writer:
        writer.append(ROWS[:1])
        room = partial_of(path).stat().st_size + 40
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                writer.append(ROWS[1:])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert writer.rows == 1
    with RowWriter(path, CLASSES, JOB, resume=True) as writer:
        assert writer.rows == 1
        writer.append(ROWS[1:])
        writer.finish()
    assert read_csv(path) == as_dictionaries(ROWS)


@pytest.mark.parametrize("extension", [".csv", ".jsonl"])
def test_resume_after_a_cut_at_any_byte_gives_the_same_bytes(
    tmp_path: Path, extension: str
) -> None:
    path = tmp_path / f"p{extension}"
    writer = RowWriter(path, CLASSES, JOB, resume=False)
    writer.append(ROWS)
    whole = partial_of(path).read_bytes()
    writer.finish()
    undisturbed = path.read_bytes()
    path.unlink()
    begun = whole.index(b"\n") + 1
    for cut in range(len(whole) + 1):
        partial_of(path).write_bytes(whole[:cut])
        try:
            writer = RowWriter(path, CLASSES, JOB, resume=True)
        except ArtifactError:
            # Before the first line is whole nothing tells whose rows they would be.
            assert cut < begun
            continue
        assert writer.rows == max(0, whole[:cut].count(b"\n") - 1)
        writer.append(ROWS[writer.rows :])
        writer.finish()
        assert path.read_bytes() == undisturbed, f"cut after {cut} of {len(whole)} bytes"
        path.unlink()


def test_resume_twice(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    for count in range(len(ROWS)):
        writer = RowWriter(path, CLASSES, JOB, resume=True)
        assert writer.rows == count
        writer.append(ROWS[count : count + 1])
        with partial_of(path).open("ab") as stream:
            stream.write(b'["cut')
        writer.close()
    writer = RowWriter(path, CLASSES, JOB, resume=True)
    writer.finish()
    assert read_csv(path) == as_dictionaries(ROWS)


def test_resume_without_a_partial_file_starts_over(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", ROWS)
    writer = RowWriter(path, CLASSES, JOB, resume=True)
    assert writer.rows == 0
    writer.close()
    assert read_csv(path) == as_dictionaries(ROWS)


def test_without_resume_earlier_rows_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    writer = RowWriter(path, CLASSES, JOB, resume=False)
    writer.append(ROWS)
    writer.close()
    assert RowWriter(path, CLASSES, JOB, resume=False).rows == 0
    assert read_csv(write(path, ROWS[:1])) == as_dictionaries(ROWS[:1])


@pytest.mark.parametrize(
    ("classes", "job"),
    [
        (CLASSES, {**JOB, "bundle": "ef" * 32}),
        (CLASSES, {**JOB, "inputs": "ef" * 32}),
        (CLASSES, {}),
        (("viral", "normal"), JOB),
        (("normal", "viral", "sars"), JOB),
    ],
)
def test_partial_file_of_another_job_is_refused_and_kept(
    tmp_path: Path, classes: tuple[str, ...], job: dict[str, str]
) -> None:
    path = tmp_path / "p.csv"
    writer = RowWriter(path, CLASSES, JOB, resume=False)
    writer.append(ROWS)
    writer.close()
    before = partial_of(path).read_bytes()
    with pytest.raises(ArtifactError, match="another bundle or other inputs") as caught:
        RowWriter(path, classes, job, resume=True)
    assert "--resume" in caught.value.hint
    assert partial_of(path).read_bytes() == before


def test_order_of_the_job_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    RowWriter(path, CLASSES, JOB, resume=False).close()
    turned = dict(reversed(JOB.items()))
    RowWriter(path, CLASSES, turned, resume=True).close()


def test_a_file_that_is_no_partial_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    partial_of(path).write_bytes(b"\xff\0 not a job\n")
    with pytest.raises(ArtifactError):
        RowWriter(path, CLASSES, JOB, resume=True)


def refused(path: Path) -> None:
    for resume in (False, True):
        with pytest.raises(CxredgeError, match="is a link or no regular file"):
            RowWriter(path, CLASSES, JOB, resume=resume)


def test_a_link_in_the_place_of_the_partial_file_is_not_followed(tmp_path: Path) -> None:
    path, precious = tmp_path / "p.csv", tmp_path / "precious.txt"
    precious.write_text("precious")
    for target in (precious, tmp_path / "gone"):
        partial_of(path).symlink_to(target)
        refused(path)
        partial_of(path).unlink()
    os.link(precious, partial_of(path))
    refused(path)
    assert precious.read_text() == "precious"
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("what", ["pipe", "socket", "folder"])
def test_what_is_no_file_in_the_place_of_the_partial_file_is_refused(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    partial = partial_of(Path("p.csv"))
    if what == "pipe":
        os.mkfifo(partial)
    elif what == "folder":
        partial.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(partial))
    refused(Path("p.csv"))


def test_rows_are_of_the_file_that_was_opened(tmp_path: Path) -> None:
    path, other = tmp_path / "p.csv", tmp_path / "other"
    other.write_text("another file")
    with RowWriter(path, CLASSES, JOB, resume=False) as writer:
        writer.append(ROWS)
        partial_of(path).unlink()
        partial_of(path).symlink_to(other)
        writer.finish()
    assert read_csv(path) == as_dictionaries(ROWS)
    assert other.read_text() == "another file"


def test_the_message_names_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    job = {"card": "a", "inputs": "b", "any_view": False}
    with RowWriter(path, CLASSES, job, resume=False) as writer:
        writer.append(ROWS)
    with pytest.raises(ArtifactError, match=r"\(what differs: --any-view, the paths given\)"):
        RowWriter(path, CLASSES, {**job, "inputs": "c", "any_view": True}, resume=True)


@pytest.mark.parametrize("row", ["[" * 100_000, "{}", "[1]", "null", "not JSON"])
def test_a_damaged_row_is_refused(row: str, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    with RowWriter(path, CLASSES, JOB, resume=False) as writer:
        writer.append(ROWS)
    with partial_of(path).open("a") as stream:
        stream.write(f"{row}\n")
    with (
        RowWriter(path, CLASSES, JOB, resume=True) as writer,
        pytest.raises(ArtifactError, match=r"Row 6 of .* is damaged"),
    ):
        list(writer.kept())
