"""Sets with zip archives in class folders: members are listed, split and loaded like files."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cxredge.data.folder import read_folder
from cxredge.data.loading import check_samples, load_pixels
from cxredge.data.manifest import Entry, Sample, read_manifest, write_manifest
from cxredge.data.pseudonyms import Pseudonyms
from cxredge.data.sources import read_source
from cxredge.data.zip_members import ZipMember, path_through
from cxredge.errors import DataError, ImageError
from tests.data.image_files import graded
from tests.dicom_files import dicom


def png(level: int) -> bytes:
    stream = io.BytesIO()
    graded(level, 40).save(stream, "PNG")
    return stream.getvalue()


def archived(path: Path, *members: tuple[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    (root / "normal").mkdir(parents=True)
    (root / "normal" / "kim-1.png").write_bytes(png(10))
    archived(root / "normal" / "more.zip", ("x/kim-2.png", png(20)), ("x/notes.txt", b"-"))
    archived(root / "viral" / "all.zip", ("lee-1.png", png(30)), ("lee-2.png", png(40)))
    return root


def entries_of(samples: list[Sample]) -> list[Entry]:
    usable, dropped = check_samples(samples)
    assert not dropped
    return usable


def test_archives_are_read_in_place(directory: Path, tmp_path: Path) -> None:
    samples, dropped = read_folder(directory, r"^(.+)-\d$")
    assert [(s.path.relative_to(directory).as_posix(), s.label, s.patient) for s in samples] == [
        ("normal/kim-1.png", "normal", "kim"),
        ("normal/more.zip/x/kim-2.png", "normal", "kim"),
        ("viral/all.zip/lee-1.png", "viral", "lee"),
        ("viral/all.zip/lee-2.png", "viral", "lee"),
    ]
    assert dropped == {"not_an_image": 1}
    manifest = write_manifest(tmp_path / "set" / "manifest.csv", entries_of(samples))
    assert load_pixels(manifest.entries, 8)[:, 0, 0].tolist() == [10, 20, 30, 40]
    assert "viral/all.zip/lee-1.png," in manifest.path.read_text()
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(directory / "viral" / "all.zip") as archive:
        archive.extractall(unpacked)
    plain = Sample(unpacked / "lee-1.png", "viral", "lee", "set", "")
    assert entries_of([plain])[0].sha256 == manifest.entries[2].sha256


def test_a_changed_archive_is_noticed(directory: Path) -> None:
    samples, _ = read_folder(directory, None)
    manifest = write_manifest(directory / "manifest.csv", entries_of(samples))
    archived(directory / "viral" / "all.zip", ("lee-1.png", png(31)), ("lee-2.png", png(40)))
    with pytest.raises(DataError, match=r"all\.zip/lee-1\.png changed"):
        load_pixels(read_manifest(manifest.path).entries, 8)
    archived(directory / "viral" / "all.zip", ("lee-2.png", png(40)))
    with pytest.raises(DataError, match=r"all\.zip/lee-1\.png is not in its archive"):
        load_pixels(read_manifest(manifest.path).entries, 8)
    (directory / "viral" / "all.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"all\.zip is truncated or damaged"):
        load_pixels(read_manifest(manifest.path).entries, 8)
    (directory / "viral" / "all.zip").unlink()
    with pytest.raises(DataError, match=r"lee-1\.png does not exist"):
        load_pixels(read_manifest(manifest.path).entries, 8)


def test_what_cannot_be_used_is_counted_by_reason(directory: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        archived(
            directory / "viral" / "odd.zip",
            ("../up.png", png(1)),
            ("/root.png", png(2)),
            ("twice.png", png(3)),
            ("twice.png", png(4)),
            ("inner.zip", b"PK"),
            ("cut.png", png(5)[:30]),
        )
    (directory / "viral" / "broken.zip").write_bytes(b"PK")
    samples, dropped = read_folder(directory, None)
    assert dropped == {"not_an_image": 1, "unsafe_name": 2}
    usable, unusable = check_samples(samples)
    assert len(usable) == 4
    assert unusable == {"missing": 2, "nested_archive": 1, "unreadable": 2}


def test_patient_of_dicom_in_an_archive_is_read(directory: Path, tmp_path: Path) -> None:
    picture = np.arange(1600, dtype=np.uint16).reshape(40, 40)
    content = dicom(picture, PatientID="A-1", ViewPosition="PA", BurnedInAnnotation="NO")
    burned = dicom(picture, PatientID="A-2", ViewPosition="PA", BurnedInAnnotation="YES")
    archived(directory / "viral" / "modality.zip", ("IM0", content), ("IM1", burned))
    (tmp_path / "key").write_text("one secret of many")
    samples, dropped = read_folder(directory, None, Pseudonyms(tmp_path / "key"))
    (found,) = (s for s in samples if s.path.parent.name == "modality.zip")
    assert found.view == "PA"
    assert found.patient
    assert "A-1" not in found.patient
    assert dropped["burned_in_text"] == 1


def test_a_path_leads_through_an_archive_by_its_members_name(tmp_path: Path) -> None:
    archive = archived(tmp_path / "x.zip", ("./a//b.png", png(7)))
    member = ZipMember(archive, "./a//b.png", 0)
    path = path_through(member)
    assert path == archive / "a" / "b.png"
    assert read_source(path) == png(7)
    for path in (tmp_path / "x.zip" / "a", tmp_path / "none.zip" / "b.png"):
        with pytest.raises(ImageError):
            read_source(path)


def test_a_copy_in_an_archive_is_a_duplicate(directory: Path) -> None:
    archived(directory / "normal" / "copy.zip", ("other-name.png", png(10)))
    samples, _ = read_folder(directory, None)
    assert len(samples) == 5
    usable, dropped = check_samples(samples)
    assert len(usable) == 4
    assert dropped == {"duplicate": 1}
