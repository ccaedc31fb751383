import csv
import json
import resource
import sys
from pathlib import Path
from typing import Any

import pytest

from cxredge.errors import ArtifactError, CxredgeError
from cxredge.rows import FORMATS, Row, RowWriter

CLASSES = ("normal", "viral")
JOB = {"bundle": "ab" * 32, "inputs": "cd" * 32}
ROWS = [
    Row("a/1.png", "ok", "normal", 0.75, (0.75, 0.25)),
    Row("a/2.png", "unreadable", error='a/2.png is no "image", sorry.'),
    Row("a/3.png", "ok", "viral", 0.1 + 0.2, (1 - (0.1 + 0.2), 0.1 + 0.2)),
    Row("ö.png", "ok", "viral", 1.0, (0.0, 1.0)),
]
ODD_NAMES = [
    "comma,.png",
    'quote".png',
    "new\nline.png",
    "carriage\rreturn.png",
    " space .png",
    "胸部.png",
    "=1+1.png",
    "\u2028.png",
    "tab\t.png",
    "null",
]


def write(path: Path, rows: list[Row]) -> Path:
    writer = RowWriter(path, CLASSES, JOB, resume=False)
    writer.append(rows)
    writer.finish()
    return path


def read_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        rows: list[dict[str, Any]] = list(csv.DictReader(stream))
    for row in rows:
        for key in ("probability", "p_normal", "p_viral"):
            row[key] = float(row[key]) if row[key] else None
    return rows


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def read_parquet(path: Path) -> list[dict[str, Any]]:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


READERS = {".csv": read_csv, ".jsonl": read_jsonl, ".parquet": read_parquet}


def as_dictionaries(rows: list[Row]) -> list[dict[str, Any]]:
    return [
        {
            "path": row.path,
            "status": row.status,
            "label": row.label,
            "probability": row.probability,
            "p_normal": row.probabilities[0] if row.probabilities else None,
            "p_viral": row.probabilities[1] if row.probabilities else None,
            "error": row.error,
        }
        for row in rows
    ]


def partial_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


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
def test_odd_file_names_come_back(tmp_path: Path, extension: str, name: str) -> None:
    rows = [Row(name, "missing", error=f"{name} does not exist."), ROWS[0]]
    path = write(tmp_path / f"p{extension}", rows)
    assert READERS[extension](path) == as_dictionaries(rows)


@pytest.mark.parametrize(
    ("extension", "shown"),
    [(".csv", "r\udcf6.png"), (".jsonl", "r\udcf6.png"), (".parquet", "r\ufffd.png")],
)
def test_names_that_are_not_utf_8_cost_no_row(tmp_path: Path, extension: str, shown: str) -> None:
    path = write(tmp_path / f"p{extension}", [Row("r\udcf6.png", "missing"), ROWS[0]])
    assert [row["path"] for row in READERS[extension](path)] == [shown, "a/1.png"]


def test_csv_begins_with_the_documented_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", ROWS[:2])
    assert path.read_text().splitlines() == [
        "path,status,label,probability,p_normal,p_viral,error",
        "a/1.png,ok,normal,0.75,0.75,0.25,",
        'a/2.png,unreadable,,,,,"a/2.png is no ""image"", sorry."',
    ]


@pytest.mark.parametrize("extension", READERS)
def test_no_rows_still_give_a_file(tmp_path: Path, extension: str) -> None:
    assert READERS[extension](write(tmp_path / f"p{extension}", [])) == []


@pytest.mark.parametrize("count", [1, 4095, 4096, 4097])
def test_parquet_groups_lose_no_row(tmp_path: Path, count: int) -> None:
    rows = [Row(str(n), "ok", "normal", 0.5, (0.5, 0.5)) for n in range(count)]
    found = read_parquet(write(tmp_path / "p.parquet", rows))
    assert [row["path"] for row in found] == [row.path for row in rows]


def test_parquet_columns_are_typed_even_when_every_image_failed(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = write(tmp_path / "p.parquet", [ROWS[1]])
    types = [str(field.type) for field in parquet.read_schema(path)]
    assert types == ["string"] * 3 + ["double"] * 3 + ["string"]


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


def test_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
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
    path = tmp_path / "deep" / "p.csv"
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


def test_a_file_without_a_row_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    with RowWriter(path, CLASSES, JOB, resume=False):
        assert list(tmp_path.iterdir()) == [partial_of(path)]
    assert not list(tmp_path.iterdir())
    with RowWriter(path, CLASSES, JOB, resume=False) as writer:
        writer.append(ROWS)
    assert list(tmp_path.iterdir()) == [partial_of(path)]


def test_it_goes_on_after_a_whole_batch(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    for rows, whole in ((0, 0), (1, 0), (2, 2), (3, 2), (4, 4)):
        with RowWriter(path, CLASSES, JOB, resume=False) as writer:
            writer.append(ROWS[:rows])
        with RowWriter(path, CLASSES, JOB, resume=True, batch=2) as writer:
            assert writer.rows == whole
            assert list(writer.paths()) == [row.path for row in ROWS[:whole]]
            writer.append(ROWS[whole:])
            writer.finish()
        assert read_csv(path) == as_dictionaries(ROWS)


def test_a_full_disk_keeps_whole_rows_alone(tmp_path: Path) -> None:
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


def test_folder_is_made(tmp_path: Path) -> None:
    assert write(tmp_path / "not" / "yet" / "p.csv", ROWS).is_file()


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


def test_resume_with_nothing_begun_starts_at_the_beginning(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", ROWS)
    writer = RowWriter(path, CLASSES, JOB, resume=True)
    assert writer.rows == 0
    writer.close()
    assert read_csv(path) == as_dictionaries(ROWS)


def test_without_resume_begun_rows_are_dropped(tmp_path: Path) -> None:
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


def test_partial_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    partial_of(path).write_bytes(b"\xff\0 not a job\n")
    with pytest.raises(ArtifactError):
        RowWriter(path, CLASSES, JOB, resume=True)


def test_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for extension in READERS:
        first = write(tmp_path / f"1{extension}", ROWS).read_bytes()
        assert write(tmp_path / f"2{extension}", ROWS).read_bytes() == first


def test_probabilities_are_written_in_full(tmp_path: Path) -> None:
    third = 1 / 3
    row = Row("a.png", "ok", "normal", 1 - third, (1 - third, third))
    for extension, reader in READERS.items():
        (found,) = reader(write(tmp_path / f"p{extension}", [row]))
        assert (found["probability"], found["p_viral"]) == (1 - third, third)


def test_every_csv_record_has_all_columns_whatever_the_names(tmp_path: Path) -> None:
    rows = [Row(name, "missing", error=f"{name}\nis gone") for name in ODD_NAMES]
    with write(tmp_path / "p.csv", rows).open(newline="", encoding="utf-8") as stream:
        assert [len(record) for record in csv.reader(stream)] == [7] * (len(rows) + 1)


def test_a_table_of_something_else_is_not_written_over(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("path,label,split,patient\n")
    with pytest.raises(ArtifactError, match="holds no predictions"):
        write(manifest, [])
    assert manifest.read_text() == "path,label,split,patient\n"
    assert not partial_of(manifest).exists()


def test_predictions_are_written_over(tmp_path: Path) -> None:
    row = Row("a.png", "ok", "normal", 0.75, (0.75, 0.25))
    path = write(tmp_path / "p.csv", [])
    assert read_csv(write(path, [row])) == as_dictionaries([row])
