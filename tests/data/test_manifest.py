import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxredge.artifacts.hashing import sha256_of_file
from cxredge.data.loading import load_pixels
from cxredge.data.manifest import (
    COLUMNS,
    Entry,
    Manifest,
    check_labels,
    read_manifest,
    write_manifest,
)
from cxredge.errors import DataError
from cxredge.vocabulary import Split
from tests.data.image_files import entry, picture, written

HEADER = ",".join(COLUMNS) + "\n"
ODD_NAMES = [
    "plain.png",
    "with space.png",
    " leading and trailing .png",
    "comma,comma.png",
    'quote"quote.png',
    "new\nline.png",
    "carriage\rreturn.png",
    "r\udcf6ntgen.png",
    "röntgen 胸.png",
    "=1+1.png",
    "#comment.png",
    "sub/folder/a.png",
]


def test_round_trip_keeps_every_field_and_the_order(tmp_path: Path) -> None:
    entries = [
        entry(tmp_path / "b.png", "viral", Split.TEST, patient="p9", view="AP", sha256="ff" * 32),
        entry(tmp_path / "a.png", "normal", Split.VAL, patient="p1", source="x,y"),
        entry(tmp_path / "c.png", "normal", Split.TRAIN, patient="p1", view="AP Supine"),
    ]
    manifest = write_manifest(tmp_path / "manifest.csv", entries)
    assert list(manifest.entries) == entries
    assert manifest == read_manifest(tmp_path / "manifest.csv")
    assert manifest.sha256 == sha256_of_file(tmp_path / "manifest.csv")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_round_trip_of_odd_file_names(tmp_path: Path, name: str) -> None:
    entries = [entry(picture(tmp_path / name, 10)), entry(picture(tmp_path / "last.png", 20))]
    manifest = write_manifest(tmp_path / "manifest.csv", entries)
    assert [e.path for e in manifest.entries] == [tmp_path / name, tmp_path / "last.png"]
    assert load_pixels(manifest.entries, 32)[:, 0, 0].tolist() == [10, 20]


TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))


@settings(max_examples=60)
@given(rows=st.lists(st.tuples(TEXT.filter(bool), TEXT.filter(bool), TEXT, TEXT), min_size=1))
def test_round_trip_of_any_text(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str, str]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    entries = [
        entry(folder / "a.png", label, patient=patient, source=source, view=view)
        for label, patient, source, view in rows
    ]
    assert list(write_manifest(folder / "any.csv", entries).entries) == entries


def test_images_below_the_manifest_are_stored_relative_so_that_the_folder_can_move(
    tmp_path: Path,
) -> None:
    picture(tmp_path / "set" / "images" / "a.png", 33)
    elsewhere = picture(tmp_path / "elsewhere" / "b.png", 44)
    write_manifest(
        tmp_path / "set" / "manifest.csv",
        [entry(tmp_path / "set" / "images" / "a.png"), entry(elsewhere)],
    )
    with (tmp_path / "set" / "manifest.csv").open(newline="") as stream:
        stored = [row["path"] for row in csv.DictReader(stream)]
    assert stored == ["images/a.png", str(elsewhere)]
    shutil.move(tmp_path / "set", tmp_path / "moved")
    entries = read_manifest(tmp_path / "moved" / "manifest.csv").entries
    assert load_pixels(entries, 32)[:, 0, 0].tolist() == [33, 44]


def test_relative_paths_are_taken_from_the_manifest_not_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "data" / "a.png", 55)
    monkeypatch.chdir(tmp_path)
    write_manifest(Path("data/manifest.csv"), [entry(Path("data/a.png"))])
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    entries = read_manifest(Path("../data/manifest.csv")).entries
    assert load_pixels(entries, 32)[0, 0, 0] == 55


def test_sibling_whose_name_begins_like_the_folder_is_not_below_it(tmp_path: Path) -> None:
    image = picture(tmp_path / "set-2" / "a.png", 66)
    manifest = write_manifest(tmp_path / "set" / "manifest.csv", [entry(image)])
    assert manifest.entries[0].path == image


@pytest.mark.parametrize("column", COLUMNS)
def test_missing_column_is_named(tmp_path: Path, column: str) -> None:
    names = [name for name in COLUMNS if name != column]
    path = written(tmp_path / "m.csv", ",".join(names) + "\n" + ",".join("x" for _ in names))
    with pytest.raises(DataError, match=rf"lacks the column\(s\) {column};"):
        read_manifest(path)


def test_further_columns_and_another_order_are_fine(tmp_path: Path) -> None:
    text = "note,sha256,view,source,patient,split,label,path\nx,,,s,p,val,normal,a.png,surplus\n"
    found = read_manifest(written(tmp_path / "m.csv", text)).entries
    assert found == (entry(tmp_path / "a.png", split=Split.VAL),)


@pytest.mark.parametrize("text", ["", HEADER, HEADER + "\n\n"])
def test_manifest_without_rows_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError):
        read_manifest(written(tmp_path / "m.csv", text))


@pytest.mark.parametrize("split", ["", "training", "Train", " train"])
def test_unknown_split_is_refused_with_its_line(tmp_path: Path, split: str) -> None:
    text = HEADER + "a.png,normal,train,p,s,,\n" + f"b.png,normal,{split},p,s,,\n"
    with pytest.raises(DataError, match=f"line 3: split '{split}'"):
        read_manifest(written(tmp_path / "m.csv", text))


@pytest.mark.parametrize("row", [",normal,train,p,s,,", "a.png,,train,p,s,,"])
def test_row_without_path_or_label_is_refused(tmp_path: Path, row: str) -> None:
    with pytest.raises(DataError, match="line 2: path and label"):
        read_manifest(written(tmp_path / "m.csv", HEADER + row + "\n"))


def test_line_in_an_error_is_the_line_in_the_file(tmp_path: Path) -> None:
    text = HEADER + '"new\nline.png",normal,train,p,s,,\n\nb.png,normal,no,p,s,,\n'
    with pytest.raises(DataError, match="line 5:"):
        read_manifest(written(tmp_path / "m.csv", text))


def test_images_without_a_patient_count_as_patients_of_their_own(tmp_path: Path) -> None:
    text = HEADER + "a.png,normal,train,,s,,\nb.png,normal,val,,s,,\n"
    manifest = read_manifest(written(tmp_path / "m.csv", text))
    assert len({e.patient for e in manifest.entries}) == 2
    assert manifest.patients_in_two_splits() == 0


def test_missing_manifest_and_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError, match=r"does not exist|is a folder; a manifest is a file"):
            read_manifest(path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4, id="binary"),
        pytest.param(b"x" * 200_000, id="one-endless-line"),
        pytest.param(
            (HEADER + "a" * 200_000 + ",normal,train,p,s,,\n").encode(), id="endless-name"
        ),
    ],
)
def test_file_that_is_not_a_manifest_is_a_data_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    with pytest.raises(DataError):
        read_manifest(path)


def test_failed_write_keeps_the_old_manifest(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    write_manifest(path, [entry(tmp_path / "a.png")])
    before = path.read_bytes()

    def broken() -> Iterator[Entry]:
        yield entry(tmp_path / "b.png")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_manifest(path, broken())
    assert path.read_bytes() == before
    assert [left.name for left in tmp_path.iterdir()] == ["manifest.csv"]


def test_same_entries_give_the_same_bytes(tmp_path: Path) -> None:
    entries = [entry(tmp_path / "a.png"), entry(tmp_path / "b.png", "viral")]
    first = write_manifest(tmp_path / "1.csv", entries).sha256
    assert write_manifest(tmp_path / "2.csv", entries).sha256 == first


def test_counts_classes_and_splits(tmp_path: Path) -> None:
    manifest = Manifest(
        tmp_path,
        (
            entry(tmp_path / "a", "viral", Split.TEST, patient="1"),
            entry(tmp_path / "b", "normal", Split.TRAIN, patient="1"),
            entry(tmp_path / "c", "normal", Split.TRAIN, patient="2"),
            entry(tmp_path / "d", "normal", Split.TEST, patient="2"),
            entry(tmp_path / "e", "normal", Split.TEST, patient="3"),
        ),
        "",
    )
    assert manifest.classes == ("normal", "viral")
    assert manifest.counts() == {"train": {"normal": 2}, "test": {"normal": 2, "viral": 1}}
    assert manifest.patients_in_two_splits() == 2
    assert [e.path.name for e in manifest.of(Split.TEST)] == ["a", "d", "e"]
    with pytest.raises(DataError, match="no 'val' images; it has: test, train"):
        manifest.of(Split.VAL)


def test_controls_are_rows_without_a_label_and_no_class(tmp_path: Path) -> None:
    entries = [
        entry(tmp_path / "a.png", "normal", Split.TRAIN, patient="1"),
        entry(tmp_path / "b.png", "viral", Split.TEST, patient="2", sex="F", age="41"),
        entry(tmp_path / "c.png", "", Split.CONTROL, patient="2", finding="lateral"),
        entry(tmp_path / "d.png", "", Split.CONTROL, patient="3", finding="ct"),
    ]
    manifest = write_manifest(tmp_path / "manifest.csv", entries)
    assert list(manifest.entries) == entries
    assert manifest.path.read_text().splitlines()[0] == f"{HEADER.strip()},finding,sex,age"
    assert manifest.classes == ("normal", "viral")
    assert manifest.counts() == {"train": {"normal": 1}, "test": {"viral": 1}}
    assert manifest.control_counts() == {"ct": 1, "lateral": 1}
    assert manifest.patients() == {"train": 1, "test": 1}
    assert list(manifest.of(Split.CONTROL)) == list(manifest.controls) == entries[2:]
    check_labels(manifest, ["normal", "viral"])


def test_optional_columns_are_written_only_if_a_row_has_a_value(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.csv", [entry(tmp_path / "a.png")])
    assert (tmp_path / "m.csv").read_text() == HEADER + "a.png,normal,train,p,s,,\n"
    write_manifest(tmp_path / "m.csv", [entry(tmp_path / "a.png", age="9")])
    assert (tmp_path / "m.csv").read_text() == HEADER[:-1] + ",age\na.png,normal,train,p,s,,,9\n"


def test_control_of_a_patient_seen_in_training_counts_as_in_two_splits(tmp_path: Path) -> None:
    splits = [(Split.TRAIN, "1"), (Split.VAL, "2"), (Split.TEST, "3")]
    entries = [entry(tmp_path / f"{p}.png", "normal", s, patient=p) for s, p in splits]
    controls = [
        entry(tmp_path / f"c{p}.png", "", Split.CONTROL, patient=p, finding="ct") for p in "123"
    ]
    manifest = write_manifest(tmp_path / "m.csv", [*entries, *controls])
    assert manifest.patients_in_two_splits() == 2


def test_label_of_a_control_names_its_kind_unless_it_is_a_class(tmp_path: Path) -> None:
    rows = "a.png,normal,train,p,s,,\nb.png,ct,control,q,s,,\n"
    manifest = read_manifest(written(tmp_path / "m.csv", HEADER + rows))
    assert [(e.label, e.finding) for e in manifest.controls] == [("", "ct")]
    for rows, words in (
        ("a.png,normal,train,p,s,,\nb.png,normal,control,q,s,,\n", "line 3: 'normal' is a class"),
        ("a.png,normal,train,p,s,,\nb.png,,control,q,s,,\n", "line 3: path and finding"),
        ("b.png,ct,control,q,s,,\n", "lists controls only"),
    ):
        with pytest.raises(DataError, match=words):
            read_manifest(written(tmp_path / "m.csv", HEADER + rows))


def test_labels_the_model_does_not_know_are_named(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path, (entry(tmp_path, "zebra"), entry(tmp_path, "normal")), "")
    check_labels(manifest, ["normal", "viral", "zebra"])
    with pytest.raises(DataError, match="does not have: zebra; it has normal, viral"):
        check_labels(manifest, ["normal", "viral"])
    with pytest.raises(DataError) as caught:
        check_labels(manifest, ["Normal", "zebra"])
    assert "'normal' to 'Normal'" in caught.value.hint
