"""Predictions files in each format: their content, and paths that are refused."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cxredge.errors import ArtifactError, CxredgeError
from cxredge.inference.answers import PredictionRow
from cxredge.inference.predictions_file import RowWriter
from cxredge.inference.row_formats import FORMATS
from tests.row_files import (
    CLASSES,
    JOB,
    ROWS,
    as_dictionaries,
    by_class,
    partial_of,
    read_csv,
    write,
)

ODD_NAMES = [
    "comma,.png",
    'quote".png',
    "new\nline.png",
    "carriage\rreturn.png",
    " space .png",
    "胸部.png",
    "\u2028.png",
    "tab\t.png",
    "null",
]


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def read_parquet(path: Path) -> list[dict[str, Any]]:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


READERS = {".csv": read_csv, ".jsonl": read_jsonl, ".parquet": read_parquet}


def test_every_format_is_tested() -> None:
    assert set(READERS) == set(FORMATS)


@pytest.mark.parametrize("extension", READERS)
def test_all_formats_hold_the_same_rows_in_order(tmp_path: Path, extension: str) -> None:
    path = write(tmp_path / f"predictions{extension}", ROWS)
    found = READERS[extension](path)
    assert found == as_dictionaries(ROWS)
    assert list(found[0]) == list(as_dictionaries(ROWS)[0])
    assert [left.name for left in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("extension", READERS)
@pytest.mark.parametrize("name", ODD_NAMES)
def test_unusual_file_names_are_read_back(tmp_path: Path, extension: str, name: str) -> None:
    rows = [PredictionRow(name, "missing", error=f"{name} does not exist."), ROWS[0]]
    path = write(tmp_path / f"p{extension}", rows)
    assert READERS[extension](path) == as_dictionaries(rows)


@pytest.mark.parametrize(
    ("extension", "shown"),
    [(".csv", "r\\xf6.png"), (".jsonl", "r\udcf6.png"), (".parquet", "r\ufffd.png")],
)
def test_names_that_are_not_utf_8_lose_no_row(tmp_path: Path, extension: str, shown: str) -> None:
    path = write(tmp_path / f"p{extension}", [PredictionRow("r\udcf6.png", "missing"), ROWS[0]])
    if extension != ".parquet":
        path.read_bytes().decode("utf-8")
    assert [row["path"] for row in READERS[extension](path)] == [shown, "a/1.png"]


def test_csv_begins_with_the_documented_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", ROWS[:2])
    assert path.read_text().splitlines() == [
        "path,status,label,probability,p_normal,p_viral,set,familiarity,decided_by,margin,"
        "above_threshold,error",
        "a/1.png,ok,normal,0.75,0.75,0.25,normal|viral,1.5,int8,0.5,normal;viral,",
        'a/2.png,unreadable,,,,,,,,,,"a/2.png is no ""image"", sorry."',
    ]


@pytest.mark.parametrize("extension", READERS)
def test_a_file_without_rows_is_written(tmp_path: Path, extension: str) -> None:
    assert READERS[extension](write(tmp_path / f"p{extension}", [])) == []


@pytest.mark.parametrize("count", [1, 4095, 4096, 4097])
def test_parquet_groups_lose_no_row(tmp_path: Path, count: int) -> None:
    rows = [PredictionRow(str(n), "ok", "normal", 0.5, by_class(0.5, 0.5)) for n in range(count)]
    found = read_parquet(write(tmp_path / "p.parquet", rows))
    assert [row["path"] for row in found] == [row.path for row in rows]


def test_parquet_columns_are_typed_even_when_every_image_failed(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = write(tmp_path / "p.parquet", [ROWS[1]])
    types = [str(field.type) for field in parquet.read_schema(path)]
    assert types[:6] == ["string"] * 3 + ["double"] * 3
    assert types[6].startswith("list<")
    assert types[7:10] == ["double", "string", "double"]
    assert types[10].startswith("list<")
    assert types[11:] == ["string"]


@pytest.mark.parametrize("name", ["p.CSV", "p.Jsonl", "p.PARQUET"])
def test_extension_counts_in_any_case(tmp_path: Path, name: str) -> None:
    reader = READERS[Path(name).suffix.lower()]
    assert reader(write(tmp_path / name, ROWS)) == as_dictionaries(ROWS)


@pytest.mark.parametrize("name", ["p.txt", "p", "p.csv.gz", "csv", ".csv"])
def test_unknown_extension_is_refused_before_any_work(tmp_path: Path, name: str) -> None:
    with pytest.raises(CxredgeError, match=r"written as \.csv, \.jsonl, \.parquet; got"):
        RowWriter(tmp_path / name, CLASSES, JOB, resume=False)
    assert not list(tmp_path.iterdir())


def test_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").mkdir()
    with pytest.raises(CxredgeError, match="is a folder"):
        RowWriter(tmp_path / "p.csv", CLASSES, JOB, resume=False)


def test_parquet_without_its_library_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises((CxredgeError, ModuleNotFoundError)):
        RowWriter(tmp_path / "p.parquet", CLASSES, JOB, resume=False)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_not_made_unasked(tmp_path: Path) -> None:
    with pytest.raises(CxredgeError, match="does not exist") as caught:
        write(tmp_path / "not yet" / "p.csv", ROWS)
    assert caught.value.hint == f"Make it first: mkdir -p '{tmp_path}/not yet'"
    assert not list(tmp_path.iterdir())


def test_equal_rows_are_equal_bytes(tmp_path: Path) -> None:
    for extension in READERS:
        first = write(tmp_path / f"1{extension}", ROWS).read_bytes()
        assert write(tmp_path / f"2{extension}", ROWS).read_bytes() == first


def test_probabilities_are_written_in_full(tmp_path: Path) -> None:
    third = 1 / 3
    row = PredictionRow("a.png", "ok", "normal", 1 - third, by_class(1 - third, third))
    for extension, reader in READERS.items():
        (found,) = reader(write(tmp_path / f"p{extension}", [row]))
        assert (found["probability"], found["p_viral"]) == (1 - third, third)


def test_every_csv_record_has_all_columns_whatever_the_names(tmp_path: Path) -> None:
    rows = [PredictionRow(name, "missing", error=f"{name}\nis gone") for name in ODD_NAMES]
    with write(tmp_path / "p.csv", rows).open(newline="", encoding="utf-8") as stream:
        assert [len(record) for record in csv.reader(stream)] == [12] * (len(rows) + 1)


def test_another_table_is_not_overwritten(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,label,split,patient\n")
    with pytest.raises(ArtifactError, match="holds no predictions"):
        write(manifest, [])
    assert manifest.read_text() == "path,label,split,patient\n"
    assert not partial_of(manifest).exists()


def test_predictions_are_overwritten(tmp_path: Path) -> None:
    row = PredictionRow("a.png", "ok", "normal", 0.75, by_class(0.75, 0.25))
    path = write(tmp_path / "p.csv", [])
    assert read_csv(write(path, [row])) == as_dictionaries([row])


FORMULAS = [
    "=1+1.png",
    "+1.png",
    "-1.png",
    "@SUM(1).png",
    "\tx.png",
    "\rx.png",
    "\nx",
    "\uff1dx.png",
]


@pytest.mark.parametrize("name", FORMULAS)
def test_csv_has_no_formulas(name: str, tmp_path: Path) -> None:
    row = PredictionRow(name, "missing", error=f"{name} does not exist.")
    (found,) = read_csv(write(tmp_path / "p.csv", [row]))
    assert (found["path"], found["error"]) == (f"./{name}", f"'{name} does not exist.")
    for extension in (".jsonl", ".parquet"):
        found = READERS[extension](write(tmp_path / f"p{extension}", [row]))
        assert found == as_dictionaries([row])


def test_labels_are_no_formulas_and_numbers_stay_numbers(tmp_path: Path) -> None:
    row = PredictionRow("a/-1.png", "ok", "-x", 1e-9, by_class(1e-9, 0.5), margin=-0.25)
    (found,) = read_csv(write(tmp_path / "p.csv", [row]))
    assert (found["path"], found["label"]) == ("a/-1.png", "'-x")
    assert (found["probability"], found["margin"]) == (1e-9, -0.25)
