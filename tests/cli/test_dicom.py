"""DICOM and archives through the commands: every input a row, no identifier in any output."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="needs the dicom extra")

from PIL import Image

from cxredge.data.phantoms import render_phantom
from tests.dicom_files import IDENTIFIERS, LOSSLESS, dicom


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def assert_anonymous(*outputs: str) -> None:
    for text in outputs:
        assert [value for value in IDENTIFIERS.values() if value in text] == []


def test_mixed_folder_with_archive(bundle: Path, tmp_path: Path, cxredge) -> None:
    folder, out = tmp_path / "in", tmp_path / "p.csv"
    folder.mkdir()
    picture = render_phantom("normal", 1, 0, 64)
    Image.fromarray(picture).save(folder / "0.png")
    for number, syntax in enumerate(LOSSLESS, 1):
        (folder / f"{number}.dcm").write_bytes(dicom(picture, syntax))
    (folder / "8").write_bytes(dicom(picture, ViewPosition="LL"))
    with zipfile.ZipFile(folder / "9.zip", "w") as archive:
        archive.write(folder / "0.png", "deep/0.png")
        archive.write(folder / "1.dcm", "IM0001")
    ran = cxredge("predict", bundle, folder, "--out", out, "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["images"], ran.json["ok"]) == (11, 10)
    found = {Path(row["path"]).relative_to(folder).as_posix(): row for row in rows(out)}
    assert list(found) == sorted(found)
    assert "9.zip/deep/0.png" in found
    assert found["8"]["status"] == "lateral"
    same = {tuple(list(row.values())[1:]) for name, row in found.items() if name != "8"}
    assert len(same) == 1
    assert_anonymous(ran.out, ran.err, out.read_text())


@pytest.fixture
def collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes, ten patients with two films each; one burnt in, one lateral, one nameless.

    Films lie in folders of their patients, some of them archived.
    """
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "set"
    odd = ({"BurnedInAnnotation": "YES"}, {"ViewPosition": "LL"}, {"PatientID": None})
    for label in ("normal", "viral"):
        (folder / label).mkdir(parents=True)
        for patient in range(10):
            for film in range(2):
                pixels = render_phantom(label, patient, film, 64)
                header = {"PatientID": f"{IDENTIFIERS['PatientID']}-{label}-{patient}"}
                header["ViewPosition"] = "PA"
                content = dicom(np.asarray(pixels), **header)
                place = folder / label / str(patient)
                place.mkdir(exist_ok=True)
                if film and patient % 2:
                    with zipfile.ZipFile(place / "more.zip", "w") as archive:
                        archive.writestr(f"IM{film}", content)
                else:
                    (place / f"IM{film}").write_bytes(content)
    for number, header in enumerate(odd):
        pixels = render_phantom("viral", 50 + number, 0, 64)
        (folder / "viral" / f"odd{number}.dcm").write_bytes(dicom(pixels, **header))
    return folder


def test_patients_of_dicom_are_kept_apart_by_a_hash(
    collection: Path, tmp_path: Path, cxredge
) -> None:
    out = tmp_path / "data"
    ran = cxredge("data", "folder", collection, "--out", out, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["images"] == 40
    assert ran.json["patients_in_two_splits"] == 0
    audited = cxredge("data", "audit", out / "manifest.csv", "--json")
    assert audited.json["unusable"] == {}
    assert ran.json["dropped"] == {"burned_in_text": 1, "lateral": 1, "no_patient": 1}
    entries = rows(out / "manifest.csv")
    assert {row["view"] for row in entries} == {"PA"}
    assert len({row["patient"] for row in entries}) == 20
    assert "patient.key" in ran.err
    written = [path.read_text() for path in out.rglob("*") if path.is_file()]
    assert_anonymous(ran.out, ran.err, *written)


def test_a_new_key_is_announced_once(collection: Path, tmp_path: Path, cxredge) -> None:
    """It is a secret that is written outside --out, so that -q must not hide it."""
    key = str(tmp_path / "config" / "cxredge" / "patient.key")
    first = cxredge("data", "folder", collection, "--out", tmp_path / "first", "-q")
    assert f"Wrote a new secret key for the hashes of patients: {key}" in first.out
    again = cxredge("data", "folder", collection, "--out", tmp_path / "again", "-q")
    assert key not in again.out
    Path(key).unlink()
    assert (
        cxredge("data", "folder", collection, "--out", tmp_path / "o", "--json").json["new_key"]
        == key
    )


def test_the_key_decides_the_hash(collection: Path, tmp_path: Path, cxredge) -> None:
    names = []
    for secret in ("one secret of many", "one secret of many", "another secret here"):
        (tmp_path / "key").write_text(secret)
        out = tmp_path / "data"
        ran = cxredge(
            "data", "folder", collection, "--out", out, "--patient-key", tmp_path / "key",
            "--keep-burned-in", "--json",
        )  # fmt: skip
        assert ran.code == 0, ran.err
        assert ran.json["images"] == 41
        names.append({row["patient"] for row in rows(out / "manifest.csv")})
    assert names[0] == names[1]
    assert not names[0] & names[2]
