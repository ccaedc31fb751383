import re
from pathlib import Path

import pytest

from cxredge.data.folder import has_split_folders, keep_splits, read_folder
from cxredge.data.manifest import Entry
from cxredge.errors import DataError
from cxredge.vocabulary import Split


def dataset(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def test_each_folder_is_a_class_and_each_image_a_patient(tmp_path: Path) -> None:
    directory = dataset(
        tmp_path / "set", "viral/b.PNG", "viral/a.jpg", "normal/a.jpg", "top-level.png"
    )
    samples, dropped = read_folder(directory, None)
    assert [(s.path.relative_to(directory).as_posix(), s.label) for s in samples] == [
        ("normal/a.jpg", "normal"),
        ("viral/a.jpg", "viral"),
        ("viral/b.PNG", "viral"),
    ]
    assert len({s.patient for s in samples}) == 3
    assert {s.source for s in samples} == {"set"}
    assert not any(s.patient_known for s in samples)
    assert dropped == {"no_class": 1}


def test_files_that_are_not_images_are_counted(tmp_path: Path) -> None:
    directory = dataset(
        tmp_path, "a/1.png", "b/1.png", "a/notes.txt", "b/.hidden.png", "b/scan.gif", "a/deep/2.png"
    )
    samples, dropped = read_folder(directory, None)
    assert [s.path for s in samples] == [
        directory / n for n in ("a/1.png", "a/deep/2.png", "b/1.png")
    ]
    assert {s.label for s in samples} == {"a", "b"}
    assert dropped == {"not_an_image": 3}


@pytest.mark.parametrize(
    ("pattern", "patients"),
    [
        (r"^(.+)-\d+$", ["kim-anna", "kim-anna", "lee"]),
        (r"([a-z]+)", ["kim", "kim", "lee"]),
        (r"^(?:kim-)?([^-]+)", ["anna", "anna", "lee"]),
    ],
)
def test_pattern_names_the_patient_from_the_name_without_extension(
    tmp_path: Path, pattern: str, patients: list[str]
) -> None:
    directory = dataset(tmp_path, "a/kim-anna-1.png", "a/kim-anna-2.jpeg", "b/lee-1.png")
    samples, dropped = read_folder(directory, pattern)
    assert [s.patient for s in samples] == patients
    assert not dropped


@pytest.mark.parametrize("pattern", [r"^p(\d+)", r"^p(\d+)|x"])
def test_image_whose_name_has_no_patient_is_left_out_and_counted(
    tmp_path: Path, pattern: str
) -> None:
    directory = dataset(tmp_path, "a/p1.png", "a/x1.png", "b/p2.png", "b/x.png")
    samples, dropped = read_folder(directory, pattern)
    assert [s.patient for s in samples] == ["1", "2"]
    assert dropped == {"no_patient": 2}


@pytest.mark.parametrize(
    ("pattern", "words"), [("(", "not a regular expression"), ("^p", "no group")]
)
def test_bad_pattern_is_refused(tmp_path: Path, pattern: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_folder(dataset(tmp_path, "a/1.png", "b/1.png"), pattern)


@pytest.mark.parametrize(
    "names", [[], ["a/1.png"], ["1.png", "2.png"], ["a/1.png", "b/notes.txt"], ["a/b/1.png"]]
)
def test_fewer_than_two_classes_are_refused(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(DataError, match="fewer than two class folders"):
        read_folder(dataset(tmp_path, *names), None)


@pytest.mark.parametrize("name", ["a|b", "a;b"])
def test_class_names_with_a_separator_of_predictions_are_refused(tmp_path: Path, name: str) -> None:
    """Prediction sets are written as ``a|b``, and classes above their threshold as ``a;b``."""
    directory = dataset(tmp_path, f"{name}/1.png", "normal/1.png")
    with pytest.raises(DataError, match=rf"has the class '{re.escape(name)}'.*such as 'a-b'"):
        read_folder(directory, None)


def test_missing_folder_and_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(DataError, match="is not a folder"):
            read_folder(directory, None)


def test_hidden_folders_are_no_classes(tmp_path: Path) -> None:
    directory = dataset(tmp_path, "a/1.png", "b/1.png", ".ipynb_checkpoints/1-checkpoint.png")
    samples, _ = read_folder(directory, None)
    assert {s.label for s in samples} == {"a", "b"}


@pytest.mark.parametrize("validation", ["val", "valid", "validation"])
def test_split_folders_are_kept(tmp_path: Path, validation: str) -> None:
    directory = dataset(
        tmp_path, "train/a/1.png", "train/b/1.png", f"{validation}/a/1.png", "test/b/1.png",
        "extra/c/1.png",
    )  # fmt: skip
    assert has_split_folders(directory)
    samples, _ = read_folder(directory, None)
    assert {s.label for s in samples} == {"a", "b"}
    assert len({s.patient for s in samples}) == 4
    entries = keep_splits([Entry(**s.__dict__) for s in samples], directory)
    assert {(e.split, e.label) for e in entries} == {
        (Split.TRAIN, "a"),
        (Split.TRAIN, "b"),
        (Split.VAL, "a"),
        (Split.TEST, "b"),
    }


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (["train/a/1.png", "test/a/1.png"], True),
        (["train/1.png", "normal/1.png"], False),
        (["test/1.png", "normal/1.png"], False),
        (["a/1.png", "b/1.png"], False),
    ],
)
def test_set_is_split_when_it_has_train_and_test(
    tmp_path: Path, names: list[str], split: bool
) -> None:
    assert has_split_folders(dataset(tmp_path, *names)) is split
