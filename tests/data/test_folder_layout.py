"""Which folders of a data set are splits and which are classes."""

from pathlib import Path

import pytest

from cxredge.data.folder import FolderRules, has_split_folders, keep_splits, read_folder
from cxredge.data.folder_layout import find_layout, split_named
from cxredge.data.manifest import Entry
from cxredge.errors import DataError
from cxredge.vocabulary import Split
from tests.data.test_folder import dataset


def classes(*folders: str) -> list[str]:
    """Two images of two classes in each folder."""
    return [f"{folder}/{label}/{folder[-3:]}1.png" for folder in folders for label in "ab"]


def splits(directory: Path, rules: FolderRules | None = None) -> set[tuple[str, str]]:
    samples, _ = read_folder(directory, rules)
    given = rules.split_folders if rules else None
    entries = keep_splits([Entry(**s.__dict__) for s in samples], directory, given)
    return {(e.split.value, e.label) for e in entries}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", Split.TRAIN),
        ("Training", Split.TRAIN),
        ("TRAIN_SET", Split.TRAIN),
        ("Valid", Split.VAL),
        ("VALIDATION", Split.VAL),
        ("Testing", Split.TEST),
        ("test-images", Split.TEST),
        ("dev", None),
        ("normal", None),
        ("train2", None),
        ("", None),
    ],
)
def test_usual_names_of_splits_are_understood_whatever_their_case(
    name: str, split: Split | None
) -> None:
    assert split_named(name) is split


@pytest.mark.parametrize(
    "names",
    [("Train", "Val", "Test"), ("Training", "Testing"), ("train", "val"), ("TRAIN", "TEST_SET")],
)
def test_split_folders_are_not_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    directory = dataset(tmp_path, *classes(*names))
    assert has_split_folders(directory)
    expected = {(split.value, label) for n in names if (split := split_named(n)) for label in "ab"}
    assert splits(directory) == expected


def test_a_training_folder_alone_is_split_anew(tmp_path: Path) -> None:
    directory = dataset(tmp_path, *classes("Train"))
    assert not has_split_folders(directory)
    samples, left_out = read_folder(directory)
    assert {s.label for s in samples} == {"a", "b"}
    assert not left_out


@pytest.mark.parametrize(
    "names",
    [
        ["train/1.png", "normal/1.png"],
        [*classes("test"), "normal/1.png"],
        classes("train", "dev"),
        [*classes("val", "test"), "normal/1.png"],
    ],
)
def test_what_is_unclear_is_refused_with_the_way_out(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(DataError, match="unclear which folders are classes") as caught:
        read_folder(dataset(tmp_path, *names))
    assert "--split-folder" in caught.value.hint


def test_splits_without_training_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder for training"):
        read_folder(dataset(tmp_path, *classes("val", "test")))


def test_a_folder_can_be_named_as_a_split(tmp_path: Path) -> None:
    directory = dataset(tmp_path, *classes("train", "dev"))
    rules = FolderRules(split_folders={"dev": Split.VAL})
    assert splits(directory, rules) == {
        (split, label) for split in ("train", "val") for label in "ab"
    }
    with pytest.raises(DataError, match="no folder 'devel'; it has dev, train"):
        read_folder(directory, FolderRules(split_folders={"devel": Split.VAL}))


def test_images_outside_of_splits_and_classes_are_listed(tmp_path: Path) -> None:
    directory = dataset(
        tmp_path, *classes("train", "test"), "dev/a/1.png", "dev/b/2.png", "dev/notes.txt",
        "loose.png", "train/loose.png", "README.md", "__MACOSX/train/a/1.png", ".hidden.png",
    )  # fmt: skip
    notes: list[str] = []
    _, left_out = read_folder(directory, note=notes.append)
    assert left_out == {"no_class": 2, "unknown_split": 2}
    listed = {(path.relative_to(directory).as_posix(), r) for path, r in left_out.files}  # type: ignore[union-attr]
    assert listed == {
        ("loose.png", "no_class"),
        ("train/loose.png", "no_class"),
        ("dev/a/1.png", "unknown_split"),
        ("dev/b/2.png", "unknown_split"),
    }
    assert any("--split-folder dev=val" in note for note in notes)


def test_splits_inside_of_class_folders_are_kept(tmp_path: Path) -> None:
    names = [f"{label}/{split}/1.png" for label in "ab" for split in ("Train", "test")]
    directory = dataset(tmp_path, *names, "a/loose.png", "b/other/1.png")
    _, left_out = read_folder(directory)
    assert left_out == {"no_split": 1, "unknown_split": 1}
    assert splits(directory) == {(s, label) for s in ("train", "test") for label in "ab"}
    with pytest.raises(DataError, match="c is not"):
        read_folder(dataset(directory, "c/1.png"))


def test_classes_whose_case_differs_between_splits_are_one(tmp_path: Path) -> None:
    names = [
        "train/NORMAL/1.png",
        "train/PNEUMONIA/1.png",
        "val/Normal/1.png",
        "val/pneumonia/1.png",
    ]
    notes: list[str] = []
    samples, _ = read_folder(dataset(tmp_path / "one", *names), note=notes.append)
    assert {s.label for s in samples} == {"NORMAL", "PNEUMONIA"}
    assert len(notes) == 2
    # In one folder, they are two classes.
    samples, _ = read_folder(dataset(tmp_path / "two", "train/a/1.png", "train/A/1.png"))
    assert {s.label for s in samples} == {"a", "A"}


def test_a_set_inside_of_its_archives_folder_is_named(tmp_path: Path) -> None:
    directory = dataset(tmp_path, *classes("chest_xray/train", "chest_xray/test"))
    with pytest.raises(DataError, match="fewer than two class folders") as caught:
        read_folder(directory)
    assert f"cxredge data folder {directory / 'chest_xray'}" in caught.value.hint


def test_a_folder_of_whole_sets_is_refused(tmp_path: Path) -> None:
    directory = dataset(tmp_path, *classes("kermany/train", "kermany/test"), "cohen/images/1.png")
    with pytest.raises(
        DataError, match=r"kermany is a data set of its own: .* hold a, b"
    ) as caught:
        read_folder(directory)
    assert f"cxredge data folder {directory / 'kermany'} " in caught.value.hint
    # Folders of patients differ between splits.
    names = [
        f"{label}/{split}/{label}{split}{n}/1.png"
        for label in "ab"
        for split in ("train", "test")
        for n in "12"
    ]
    assert splits(dataset(tmp_path / "patients", *names)) == {
        (split, label) for split in ("train", "test") for label in "ab"
    }


def test_folders_that_may_be_sets_without_splits_are_noted(tmp_path: Path) -> None:
    directory = dataset(tmp_path, *[f"{d}/{c}/1.png" for d, c in ("xp", "xq", "yr", "ys")])
    notes: list[str] = []
    read_folder(directory, note=notes.append)
    assert any(n.startswith("'x' (p, q) and 'y' (r, s) are read as classes") for n in notes)


def test_folders_that_may_be_splits_in_another_language_are_noted(tmp_path: Path) -> None:
    folders = [f"{split}/{label}" for split in ("Entrenamiento", "Prueba") for label in "ab"]
    directory = dataset(tmp_path, *(f"{folder}/1.png" for folder in folders))
    (note,) = find_layout(directory).notes
    assert "'Entrenamiento', 'Prueba' are read as classes, although each holds a, b." in note
    assert "--split-folder Entrenamiento=train" in note


def test_classes_with_almost_one_name_are_noted(tmp_path: Path) -> None:
    directory = dataset(tmp_path, "covid-19/1.png", "COVID19/1.png", "normal/1.png")
    (note,) = find_layout(directory).notes
    assert note.startswith("'COVID19', 'covid-19' are 2 classes. If they are one")
