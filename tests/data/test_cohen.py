import csv
from pathlib import Path

import pytest

from cxredge.data.cohen import label_of, read_cohen
from cxredge.errors import DataError

COLUMNS = ("patientid", "offset", "finding", "view", "modality", "date", "filename")
GOOD = {
    "patientid": "2",
    "finding": "COVID-19",
    "view": "PA",
    "modality": "X-ray",
    "filename": "a.png",
}


def collection(folder: Path, *changes: dict[str, str], files: tuple[str, ...] = ("a.png",)) -> Path:
    directory = folder / "cohen"
    (directory / "images").mkdir(parents=True)
    for name in files:
        (directory / "images" / name).write_bytes(b"x")
    with (directory / "metadata.csv").open(
        "w", newline="", encoding="utf-8", errors="surrogateescape"
    ) as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows({**GOOD, **change} for change in changes)
    return directory


def test_frontal_covid_and_sars_are_read_in_the_order_of_the_table(tmp_path: Path) -> None:
    files = ("a.png", "b.jpg", "c.jpeg", "d.png")
    directory = collection(
        tmp_path,
        {"filename": "b.jpg", "patientid": "7", "view": "AP Supine"},
        {"filename": "a.png", "patientid": "9", "finding": "SARS", "view": "AP"},
        {"filename": "d.png", "patientid": "7", "finding": "COVID-19, ARDS"},
        files=files,
    )
    samples, dropped = read_cohen(directory)
    assert [(s.path.name, s.label, s.patient, s.source, s.view) for s in samples] == [
        ("b.jpg", "covid19", "cohen-7", "cohen", "AP Supine"),
        ("a.png", "sars", "cohen-9", "cohen", "AP"),
        ("d.png", "covid19", "cohen-7", "cohen", "PA"),
    ]
    assert all(s.path.is_file() for s in samples)
    assert not dropped


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"modality": "CT"}, "ct"),
        ({"modality": ""}, "ct"),
        ({"view": "L"}, "lateral"),
        ({"view": "Axial"}, "lateral"),
        ({"view": ""}, "lateral"),
        ({"finding": "Streptococcus"}, "other_finding"),
        ({"finding": "No Finding"}, "other_finding"),
        ({"finding": ""}, "other_finding"),
        ({"finding": "MERS-CoV-19"}, "other_finding"),
        ({"filename": "gone.png"}, "missing_file"),
        ({"filename": ""}, "missing_file"),
        ({"filename": "."}, "missing_file"),
        ({"filename": ".."}, "missing_file"),
        ({"filename": "x" * 300 + ".png"}, "missing_file"),
    ],
)
def test_rows_left_out_are_counted_by_reason(
    tmp_path: Path, change: dict[str, str], reason: str
) -> None:
    samples, dropped = read_cohen(collection(tmp_path, change, {}, change))
    assert len(samples) == 1
    assert dropped == {reason: 2}


def test_other_pictures_are_controls_if_they_are_wanted(tmp_path: Path) -> None:
    directory = collection(
        tmp_path,
        {"modality": "CT", "view": "Axial"},
        {"view": "L"},
        {"finding": "Legionella", "patientid": ""},
        {"finding": "Legionella", "filename": "gone.png"},
        {},
    )
    samples, dropped = read_cohen(directory, with_controls=True)
    assert [(s.label, s.finding, s.view, s.patient_known) for s in samples] == [
        ("", "ct", "Axial", True),
        ("", "lateral", "L", True),
        ("", "other finding", "PA", False),
        ("covid19", "", "PA", True),
    ]
    assert dropped == {"other_finding": 1}


def test_sex_and_age_are_kept_if_the_table_has_them(tmp_path: Path) -> None:
    directory = collection(tmp_path, {})
    table = directory / "metadata.csv"
    header, row = table.read_text().splitlines()
    table.write_text(f"{header},sex,age\n{row},M, 65 \n")
    assert [(s.sex, s.age) for s in read_cohen(directory)[0]] == [("M", "65")]


def test_every_row_is_either_a_sample_or_counted(tmp_path: Path) -> None:
    rows = [
        {},
        {"modality": "CT", "view": "Axial"},
        {"view": "L", "finding": "SARS"},
        {"finding": "Legionella", "filename": "gone.png"},
        {"filename": "gone.png"},
        {"finding": "SARS"},
    ]
    samples, dropped = read_cohen(collection(tmp_path, *rows))
    assert dropped == {"ct": 1, "lateral": 1, "other_finding": 1, "missing_file": 1}
    assert len(samples) + dropped.total() == len(rows)


@pytest.mark.parametrize(
    "name", ["../../etc/x.png", "../x.png", "{outside}/x.png", "sub/../../x.png"]
)
def test_a_path_in_the_table_never_leads_out_of_images(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.png").write_bytes(b"secret")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "x.png").write_bytes(b"secret")
    directory = collection(tmp_path, {"filename": name.format(outside=tmp_path)})
    (directory / "x.png").write_bytes(b"beside")
    assert read_cohen(directory) == ([], {"missing_file": 1})
    (directory / "images" / "x.png").write_bytes(b"inside")
    samples, _ = read_cohen(directory)
    assert [s.path for s in samples] == [directory / "images" / "x.png"]


@pytest.mark.parametrize(
    "name",
    ["a b.png", "a,b.png", 'a"b.png', "a\nb.png", "胸部.png", "auntminnie-a-2020_01_28-x.JPG"],
)
def test_odd_file_names_are_found(tmp_path: Path, name: str) -> None:
    samples, dropped = read_cohen(collection(tmp_path, {"filename": name}, files=(name,)))
    assert [s.path.name for s in samples] == [name]
    assert not dropped


def test_bytes_that_are_not_utf_8_elsewhere_in_the_table_do_no_harm(tmp_path: Path) -> None:
    samples, _ = read_cohen(collection(tmp_path, {"date": "M\udce4rz"}, {"patientid": "\udcff"}))
    assert len(samples) == 2


@pytest.mark.parametrize("words", range(1, len(COLUMNS)))
def test_row_cut_short_is_counted_and_the_others_are_read(tmp_path: Path, words: int) -> None:
    directory = collection(tmp_path, {})
    with (directory / "metadata.csv").open("a") as stream:
        stream.write(",".join(["2", "0", "COVID-19", "PA", "X-ray", "2020", "a.png"][:words]))
    samples, dropped = read_cohen(directory)
    assert len(samples) == 1
    assert dropped.total() == 1


@pytest.mark.parametrize("column", ["patientid", "finding", "view", "modality", "filename"])
def test_missing_column_is_named(tmp_path: Path, column: str) -> None:
    directory = collection(tmp_path, {})
    table = directory / "metadata.csv"
    table.write_text(table.read_text().replace(column, "something", 1))
    with pytest.raises(DataError, match=rf"lacks the column\(s\) {column}\."):
        read_cohen(directory)


def test_folder_without_the_table_is_refused(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match=r"has no metadata\.csv"):
            read_cohen(directory)


@pytest.mark.parametrize(
    ("finding", "label"),
    [
        ("COVID-19", "covid19"),
        ("covid-19", "covid19"),
        ("COVID-19, ARDS", "covid19"),
        ("ARDS,COVID-19", "covid19"),
        ("SARS", "sars"),
        (" SARS ", "sars"),
        ("SARS, COVID-19", "covid19"),
        ("ARDS", None),
        ("Pneumocystis", None),
        ("COVID-19 suspected", None),
        ("", None),
    ],
)
def test_label_of_a_finding(finding: str, label: str | None) -> None:
    assert label_of(finding) == label
