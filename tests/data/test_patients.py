"""Patients of a data set, and images whose patient is not known."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxredge.data.audit import audit_manifest
from cxredge.data.folder import FolderRules, read_folder
from cxredge.data.manifest import Entry, Sample, read_manifest, write_manifest
from cxredge.data.patients import PatientRule
from cxredge.data.pseudonyms import Pseudonyms
from cxredge.data.set_warnings import split_warnings
from cxredge.errors import DataError, DependencyError
from cxredge.quantization.calibration_set import check_apart
from cxredge.vocabulary import PatientFrom, Split
from tests.data.image_files import entry, picture, written
from tests.data.test_folder import dataset

PICTURE = np.arange(1600, dtype=np.uint16).reshape(40, 40)
FOLDER, IMAGE = PatientRule(PatientFrom.FOLDER), PatientRule(PatientFrom.IMAGE)


@pytest.fixture
def pseudonyms(tmp_path: Path) -> Pseudonyms:
    (tmp_path / "key").write_text("the secret of a hospital")
    return Pseudonyms(tmp_path / "key")


def modality(path: Path, patient: str | None) -> Path:
    pytest.importorskip("pydicom", reason="needs the dicom extra")
    from tests.dicom_files import dicom

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dicom(PICTURE, PatientID=patient, ViewPosition="PA"))
    return path


def patients(samples: list[Sample]) -> dict[str, tuple[str, bool]]:
    return {s.path.name: (s.patient, s.patient_known) for s in samples}


def test_a_pattern_falls_back_to_the_header(tmp_path: Path, pseudonyms: Pseudonyms) -> None:
    directory = dataset(tmp_path / "set", "a/kim-1.png", "b/lee-1.png")
    modality(directory / "a" / "IM0001", "kim")
    modality(directory / "b" / "IM0002", "")
    notes: list[str] = []
    samples, left_out = read_folder(directory, r"^([a-z]+)-\d$", pseudonyms, notes.append)
    found = patients(samples)
    # Names and numbers are hashed together, so that one number is one patient.
    assert found["IM0001"] == found["kim-1.png"] == (pseudonyms.of("kim"), True)
    assert left_out == {"no_patient": 1}
    assert "of 2 of 4 images; for example, 'kim-1.png' is of patient 'kim'" in notes[0]
    assert "The header names that of 1 more" in notes[0]


def test_a_class_that_loses_its_images_stops_the_command(tmp_path: Path) -> None:
    directory = dataset(tmp_path, "a/p1.png", "b/x1.png", "b/x2.png")
    with pytest.raises(DataError, match=r"class 'b' can be used: --patient '\^p.*any of 2 images"):
        read_folder(directory, r"^p(\d+)")


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (["", "", "", ""], "PatientID is empty in 2"),
        (["ANONYMOUS"] * 4, "the same, or a placeholder"),
        (["P1"] * 4, "the same, or a placeholder"),
        (["1", "2", "anon", "N/A"], "class 'b' .* a placeholder"),
    ],
)
def test_deidentified_dicom_is_noticed(
    tmp_path: Path, pseudonyms: Pseudonyms, ids: list[str], words: str
) -> None:
    for number, one in enumerate(ids):
        modality(tmp_path / "set" / "aabb"[number] / f"{number}.dcm", one)
    with pytest.raises(DataError, match=words) as caught:
        read_folder(tmp_path / "set", None, pseudonyms)
    assert "--patient-from image" in caught.value.hint
    samples, left_out = read_folder(tmp_path / "set", FolderRules(IMAGE), pseudonyms)
    assert len({s.patient for s in samples}) == 4
    assert not any(s.patient_known for s in samples)
    assert not left_out


def test_ordinary_numbers_are_patients(tmp_path: Path, pseudonyms: Pseudonyms) -> None:
    for number, one in enumerate(["1", "1", "2", "Test 17"]):
        modality(tmp_path / "set" / "aabb"[number] / f"{number}.dcm", one)
    samples, _ = read_folder(tmp_path / "set", None, pseudonyms)
    assert len({s.patient for s in samples}) == 3
    assert all(s.patient_known for s in samples)


def test_the_folder_below_the_class_is_the_patient(tmp_path: Path) -> None:
    directory = dataset(
        tmp_path, "a/kim/1.png", "a/kim/study/2.png", "a/lee/1.png", "b/kim/3.png", "b/loose.png"
    )
    samples, left_out = read_folder(directory, FolderRules(FOLDER))
    assert [s.patient for s in samples] == ["kim", "kim", "lee", "kim"]
    assert left_out == {"no_patient": 1}


def test_file_names_end_in_the_number_of_the_image(tmp_path: Path) -> None:
    directory = dataset(tmp_path, "a/kim_anna_1.png", "a/kim_anna-2.png", "b/lee-1.png")
    samples, _ = read_folder(directory, FolderRules(PatientRule(PatientFrom.NAME)))
    assert [s.patient for s in samples] == ["kim_anna", "kim_anna", "lee"]


def test_each_alternative_of_a_pattern_has_its_group(tmp_path: Path) -> None:
    directory = dataset(tmp_path, "a/kim-1.png", "a/kim-2.png", "b/person7_virus_1.png")
    rule = PatientRule(PatientFrom.NAME, "^(.+)-[0-9]+$|^(person[0-9]+)_")
    samples, left_out = read_folder(directory, FolderRules(rule))
    assert [s.patient for s in samples] == ["kim", "kim", "person7"]
    assert not left_out


def test_a_table_names_patients_by_path_or_file_name(
    tmp_path: Path, pseudonyms: Pseudonyms
) -> None:
    directory = dataset(tmp_path / "set", "a/1.png", "a/2.png", "b/3.png", "b/4.png", "b/5.png")
    text = f"Filename;PatientID\na/1.png;kim\n2.png;kim\n{directory / 'b' / '3.png'};lee\n"
    table = written(tmp_path / "patients.csv", text + "set/b/4.png;lee\n")
    rules = FolderRules(PatientRule(PatientFrom.CSV, table=table))
    samples, left_out = read_folder(directory, rules, pseudonyms)
    kim, lee = (pseudonyms.of(name) for name in ("kim", "lee"))
    assert [s.patient for s in samples] == [kim, kim, lee, lee]
    assert left_out == {"no_patient": 1}
    both = FolderRules(PatientRule(PatientFrom.CSV, "^(.)", table))
    samples, left_out = read_folder(directory, both, pseudonyms)
    assert [s.patient for s in samples] == [kim, kim, lee, lee, pseudonyms.of("5")]
    assert not left_out
    written(table, "image,person\n1.png,kim\n")
    with pytest.raises(DataError, match=r"lacks the column\(s\) path, patient"):
        read_folder(directory, rules, pseudonyms)
    table.unlink()
    with pytest.raises(DataError, match="no such file"):
        read_folder(directory, rules, pseudonyms)


def test_images_without_a_patient_are_counted_also_beside_dicom(
    tmp_path: Path, pseudonyms: Pseudonyms
) -> None:
    directory = dataset(tmp_path / "set", "a/1.png", "a/2.png", "b/1.png")
    modality(directory / "b" / "IM1", "kim")
    samples, _ = read_folder(directory, None, pseudonyms)
    entries = [Entry(**{**vars(s), "split": Split.TRAIN, "sha256": ""}) for s in samples]
    manifest = write_manifest(tmp_path / "out" / "manifest.csv", entries)
    assert manifest.without_patient() == {"train": 3}
    assert audit_manifest(manifest).images_without_patient == 3
    (sentence,) = split_warnings(manifest)
    assert sentence.startswith("The patient of 3 of 4 images is not known")
    assert sentence in audit_manifest(manifest).warnings


@pytest.mark.parametrize("place", [".", "images", "../elsewhere"])
def test_an_unknown_patient_stays_unknown_in_every_copy_of_a_manifest(
    tmp_path: Path, place: str
) -> None:
    image = picture(tmp_path / "set" / place / "a.png", 1)
    unknown = replace(entry(image, patient="normal/a.png"), patient_known=False)
    known = entry(picture(tmp_path / "set" / place / "b.png", 2), patient="b")
    first = write_manifest(tmp_path / "set" / "manifest.csv", [unknown, known])
    copy = write_manifest(tmp_path / "run" / "manifest.csv", first.entries)
    for manifest in (first, copy, read_manifest(copy.path)):
        assert [e.patient_known for e in manifest.entries] == [False, True]
        assert all(e.patient for e in manifest.entries)


def test_unknown_patients_of_two_manifests_are_not_compared(tmp_path: Path) -> None:
    one, two = (picture(tmp_path / n / "a" / "1.png", g) for n, g in (("x", 1), ("y", 2)))
    unknown = replace(entry(one, patient="a/1.png", sha256="aa" * 32), patient_known=False)
    calibration = write_manifest(tmp_path / "x.csv", [unknown])
    other = replace(unknown, path=two, split=Split.TEST, sha256="bb" * 32)
    check_apart(calibration, write_manifest(tmp_path / "y.csv", [other]), Split.TEST)


def test_a_class_that_a_split_lacks_is_named(tmp_path: Path) -> None:
    held = {Split.TRAIN: "ab", Split.VAL: "a", Split.TEST: "ab"}
    rows = [entry(tmp_path / s.value / c, c, s) for s, labels in held.items() for c in labels]
    manifest = write_manifest(tmp_path / "manifest.csv", rows)
    (sentence,) = split_warnings(manifest)
    assert sentence.startswith("No 'val' image is of b:")


def test_dicom_without_pydicom_is_noticed_before_any_image_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "b" / "IM1").write_bytes(b"\0" * 128 + b"DICM")
    monkeypatch.setitem(sys.modules, "cxredge.data.dicom.exposure", None)
    with pytest.raises(DependencyError, match=r"IM1 is DICOM.*requires the extra 'dicom'"):
        read_folder(tmp_path)


def test_spellings_of_one_patient_are_one_patient(tmp_path: Path, pseudonyms: Pseudonyms) -> None:
    directory = dataset(tmp_path / "set", "a/P07_1.png", "a/p7_2.png", "b/p70_1.png")
    samples, _ = read_folder(directory, r"^([pP]\d+)_", pseudonyms)
    found = patients(samples)
    assert found["P07_1.png"] == found["p7_2.png"] != found["p70_1.png"]


def test_a_table_with_two_patients_of_an_image_is_refused(tmp_path: Path) -> None:
    directory = dataset(tmp_path / "set", "a/1.png", "b/2.png")
    table = written(tmp_path / "p.csv", "path,patient\na/1.png,kim\nb/2.png,lee\na/1.png,max\n")
    rules = FolderRules(PatientRule(PatientFrom.CSV, table=table))
    with pytest.raises(DataError, match=r"line 4: 'a/1\.png' has another patient"):
        read_folder(directory, rules)
