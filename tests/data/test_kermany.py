from pathlib import Path

import pytest

from cxredge.data.kermany import read_kermany
from cxredge.errors import DataError


def collection(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def facts(directory: Path) -> dict[str, tuple[str, str]]:
    samples, _ = read_kermany(directory)
    assert {s.source for s in samples} <= {"kermany"}
    return {s.path.name: (s.label, s.patient) for s in samples}


def test_folders_are_joined_and_labels_come_from_folder_and_name(tmp_path: Path) -> None:
    directory = collection(
        tmp_path,
        "train/NORMAL/IM-0115-0001.jpeg",
        "train/PNEUMONIA/person1_bacteria_2.jpeg",
        "val/PNEUMONIA/person1946_bacteria_4874.jpeg",
        "test/NORMAL/NORMAL2-IM-0117-0001.jpeg",
        "test/PNEUMONIA/person1_virus_11.jpeg",
    )
    assert {name: label for name, (label, _) in facts(directory).items()} == {
        "IM-0115-0001.jpeg": "normal",
        "NORMAL2-IM-0117-0001.jpeg": "normal",
        "person1_bacteria_2.jpeg": "bacterial",
        "person1946_bacteria_4874.jpeg": "bacterial",
        "person1_virus_11.jpeg": "viral",
    }


def test_one_folder_is_enough(tmp_path: Path) -> None:
    assert len(facts(collection(tmp_path, "train/NORMAL/IM-0115-0001.jpeg"))) == 1


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("train/PNEUMONIA/person5_bacteria_1.jpeg", "test/PNEUMONIA/person5_bacteria_2.jpeg", True),
        ("train/PNEUMONIA/person5_bacteria_1.jpeg", "test/PNEUMONIA/person5_virus_1.jpeg", False),
        (
            "train/PNEUMONIA/person5_bacteria_1.jpeg",
            "train/PNEUMONIA/person55_bacteria_1.jpeg",
            False,
        ),
        ("train/NORMAL/IM-0115-0001.jpeg", "test/NORMAL/IM-0115-0002.jpeg", True),
        ("train/NORMAL/IM-0115-0001.jpeg", "train/NORMAL/IM-0117-0001.jpeg", False),
        ("train/NORMAL/IM-0115-0001.jpeg", "test/NORMAL/NORMAL2-IM-0115-0001.jpeg", False),
        ("train/NORMAL/one.jpeg", "train/NORMAL/two.jpeg", False),
        ("train/NORMAL/person5_bacteria_1.jpeg", "train/PNEUMONIA/person5_bacteria_2.jpeg", False),
    ],
)
def test_who_is_the_same_patient(tmp_path: Path, first: str, second: str, same: bool) -> None:
    patients = [patient for _, patient in facts(collection(tmp_path, first, second)).values()]
    assert len(patients) == 2
    assert (patients[0] == patients[1]) is same


@pytest.mark.parametrize(
    "name",
    [
        "scan.jpeg",
        "person_bacteria_1.jpeg",
        "person5_fungus_1.jpeg",
        "person5_bacteria.jpeg",
        "Xperson5_virus_1.jpeg",
        "r\udcf6ntgen.png",
    ],
)
def test_pneumonia_of_unknown_name_is_left_out_and_counted(tmp_path: Path, name: str) -> None:
    directory = collection(
        tmp_path, f"train/PNEUMONIA/{name}", "train/PNEUMONIA/person5_virus_1.jpeg"
    )
    samples, dropped = read_kermany(directory)
    assert [s.path.name for s in samples] == ["person5_virus_1.jpeg"]
    assert dropped == {"unknown_name": 1}


@pytest.mark.parametrize("name", [".DS_Store", "._person5_virus_1.jpeg", "list.txt", "Thumbs.db"])
def test_files_that_are_no_images_are_not_samples(tmp_path: Path, name: str) -> None:
    directory = collection(
        tmp_path, f"train/PNEUMONIA/{name}", f"train/NORMAL/{name}", "test/NORMAL/IM-1-1.jpeg"
    )
    assert list(facts(directory)) == ["IM-1-1.jpeg"]


def test_order_is_by_folder_and_name(tmp_path: Path) -> None:
    names = [
        "train/NORMAL/IM-1-1.jpeg",
        "train/NORMAL/IM-2-1.jpeg",
        "train/PNEUMONIA/person2_virus_1.jpeg",
        "val/NORMAL/IM-0-1.jpeg",
        "test/NORMAL/IM-0-2.jpeg",
    ]
    samples, _ = read_kermany(collection(tmp_path, *reversed(names)))
    assert [s.path.relative_to(tmp_path).as_posix() for s in samples] == names


def test_other_layout_is_refused(tmp_path: Path) -> None:
    collection(tmp_path, "chest_xray/train/NORMAL/IM-1-1.jpeg", "NORMAL/IM-1-1.jpeg")
    for directory in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match="no train/NORMAL or train/PNEUMONIA"):
            read_kermany(directory)
