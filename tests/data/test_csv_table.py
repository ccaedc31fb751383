"""Tables as spreadsheets save them."""

import os
from pathlib import Path

import pytest

from cxredge.data.cohen import read_cohen
from cxredge.data.csv_table import read_csv
from cxredge.data.manifest import COLUMNS, read_manifest, write_manifest
from cxredge.errors import DataError
from tests.data.image_files import entry, picture
from tests.data.test_cohen import collection

HEADER = ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: text.encode("utf-8-sig"), id="bom"),
        pytest.param(lambda text: text.replace(",", ";").encode(), id="semicolons"),
        pytest.param(lambda text: ("sep=;\n" + text.replace(",", ";")).encode(), id="sep"),
        pytest.param(lambda text: text.replace(",", "\t").encode("utf-16"), id="utf-16-tabs"),
        pytest.param(lambda text: text.encode("utf-16-le"), id="utf-16-without-mark"),
        pytest.param(lambda text: text.encode("utf-16-be"), id="utf-16-be-without-mark"),
        pytest.param(lambda text: text.encode("cp1252"), id="windows-1252"),
        pytest.param(lambda text: text.replace("\n", "\r\n").encode(), id="crlf"),
        pytest.param(lambda text: text.replace("path", '"path"').encode(), id="quoted"),
    ],
)
def test_manifests_that_went_through_a_spreadsheet(tmp_path: Path, change) -> None:
    images = [picture(tmp_path / label / "1.png", 1) for label in ("normal", "viral ü")]
    entries = [entry(image, image.parent.name) for image in images]
    before = write_manifest(tmp_path / "manifest.csv", entries)
    text = before.path.read_text(encoding="utf-8")
    before.path.write_bytes(change(text))
    after = read_manifest(before.path)
    assert after.entries == before.entries
    assert after.sha256 != before.sha256


def test_names_that_are_not_utf_8_are_kept(tmp_path: Path) -> None:
    name = os.fsdecode(b"r\xf6ntgen.png")
    image = picture(tmp_path / name, 1)
    manifest = write_manifest(tmp_path / "manifest.csv", [entry(image)])
    assert manifest.entries[0].path.exists()
    image.unlink()
    assert read_manifest(manifest.path).entries == manifest.entries


def test_line_numbers_count_the_line_of_the_separator(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("sep=,\n" + HEADER + "a.png,normal,no,p,s,,\n")
    with pytest.raises(DataError, match="line 3: split 'no'"):
        read_manifest(path)


@pytest.mark.parametrize("content", [b"PK\x03\x04 a workbook", b"\xd0\xcf\x11\xe0 an old one"])
def test_workbooks_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "manifest.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match="workbook of a spreadsheet") as caught:
        read_manifest(path)
    assert "CSV in UTF-8" in caught.value.hint


def test_what_is_cut_in_the_middle_of_a_character_is_named(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_bytes(HEADER.encode("utf-16")[:-1])
    with pytest.raises(DataError, match="not valid utf-16"):
        read_csv(path, COLUMNS)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_metadata_that_went_through_a_spreadsheet(tmp_path: Path, encoding: str) -> None:
    directory = collection(tmp_path, {"date": "März"}, {"patientid": "7"})
    table = directory / "metadata.csv"
    table.write_bytes(table.read_text(encoding="utf-8").replace(",", ";").encode(encoding))
    samples, _ = read_cohen(directory)
    assert len(samples) == 2
