"""Controls: X-rays that show none of the classes, from the collections to the manifest."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxredge.data.adults import read_adults
from cxredge.data.appearance import hash_images
from cxredge.data.controls import choose_controls
from cxredge.data.folder import read_folder
from cxredge.data.loading import check_samples
from cxredge.data.manifest import Manifest, Sample, read_manifest
from cxredge.data.phantom_controls import KINDS, render_control, write_phantom_controls
from cxredge.data.phantoms import render_phantom
from cxredge.errors import DataError
from cxredge.vocabulary import Split

Make = Callable[..., Sample]


@pytest.fixture
def xray(tmp_path: Path) -> Make:
    """Write the chest of a number; other qualities are other files of the same X-ray."""

    def make(
        number: int, label: str = "", patient: str = "", finding: str = "", quality: int = 90
    ) -> Sample:
        path = tmp_path / f"{number}-{label}-{quality}.jpg"
        Image.fromarray(render_phantom("normal", number, 0)).save(path, quality=quality)
        return Sample(path, label, patient or f"p{number}", "s", finding=finding)

    return make


def chosen(labelled: list[Sample], split: Split, others: list[Sample]) -> tuple[list[str], dict]:
    """Return the names of the controls, and the reasons of the other candidates."""
    usable, _ = check_samples(labelled)
    entries = [type(e)(**{**vars(e), "split": split}) for e in usable]
    controls, left_out = choose_controls(others, usable, hash_images(usable), entries)
    assert all(c.split is Split.CONTROL and not c.label and c.sha256 for c in controls)
    assert len(controls) + left_out.total() == len(others)
    return [c.path.name for c in controls], {path.name: why for path, why in left_out.files}


def test_controls_that_show_an_xray_of_a_class_or_another_control_are_left_out(xray: Make) -> None:
    classes = [xray(0, "normal"), xray(1, "viral")]
    same = xray(3, finding="ct")
    others = [
        xray(0, finding="ct", patient="other", quality=60),
        same,
        xray(3, finding="lateral", patient="third", quality=60),
        Sample(classes[1].path, "", "q", "s", finding="ct"),
    ]
    names, reasons = chosen(classes, Split.TEST, others)
    assert names == [same.path.name]
    assert reasons == {
        others[0].path.name: "near_duplicate",
        others[2].path.name: "near_duplicate",
        others[3].path.name: "duplicate",
    }


@pytest.mark.parametrize(
    ("split", "kept"), [(Split.TRAIN, False), (Split.VAL, False), (Split.TEST, True)]
)
def test_controls_of_patients_seen_in_training_are_left_out(
    xray: Make, split: Split, kept: bool
) -> None:
    others = [xray(5, finding="lateral", patient="p0"), xray(6, finding="lateral")]
    names, reasons = chosen([xray(0, "normal")], split, others)
    assert (others[0].path.name in names) is kept
    assert others[1].path.name in names
    assert reasons == ({} if kept else {others[0].path.name: "patient_in_train_or_val"})


def test_patients_who_share_an_xray_are_one_patient(xray: Make) -> None:
    """The second name of a training patient appears on a duplicate, which is not used."""
    classes = [xray(0, "normal", "one"), xray(0, "normal", "two", quality=60)]
    names, reasons = chosen(classes, Split.TRAIN, [xray(7, finding="ct", patient="two")])
    assert names == []
    assert list(reasons.values()) == ["patient_in_train_or_val"]


def make_adults(folder: Path, *rows: tuple[str, str, str]) -> Path:
    (folder / "images").mkdir(parents=True)
    with (folder / "metadata.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("filename", "patientid", "finding"), *rows])
    for name, _, _ in rows:
        if "/" not in name and not name.startswith("gone"):
            (folder / "images" / name).write_bytes(b"x")
    return folder


def test_adults_are_controls_whose_kind_is_their_finding(tmp_path: Path) -> None:
    rows = [("a.jpg", "7", "No Finding"), ("b.jpg", "", "Pneumonia"), ("gone.jpg", "9", "Mass")]
    rows += [("../c.jpg", "9", "Mass"), ("d.jpg", "9", " ")]
    (tmp_path / "c.jpg").write_bytes(b"secret")
    samples, dropped = read_adults(make_adults(tmp_path / "adults", *rows))
    assert [(s.path.name, s.label, s.finding, s.patient, s.source) for s in samples] == [
        ("a.jpg", "", "adult no finding", "adults-7", "adults"),
        ("b.jpg", "", "adult pneumonia", "images/b.jpg", "adults"),
    ]
    assert [s.patient_known for s in samples] == [True, False]
    assert dropped == {"missing_file": 2, "no_finding": 1}


def test_adults_in_another_layout_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no metadata\.csv"):
        read_adults(tmp_path)
    with pytest.raises(DataError, match="None of the 1 images of"):
        read_adults(make_adults(tmp_path / "adults", ("gone.jpg", "1", "Mass")))


def noise(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    regions = np.random.default_rng(seed).integers(0, 255, (8, 8), dtype=np.uint8)
    Image.fromarray(regions).resize((40, 40), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A set of two classes with six patients each, and controls of two kinds."""
    for n in range(24):
        noise(tmp_path / "set" / "ab"[n % 2] / f"p{n // 2}{'ab'[n % 2]}-{n}.png", n)
    for n in range(6):
        noise(tmp_path / "more" / ("lateral", "mass")[n % 2] / f"c{n}-1.png", 100 + n)
    return tmp_path / "set", tmp_path / "more"


def test_folders_of_controls_become_rows_without_a_label(
    folders: tuple[Path, Path], tmp_path: Path, cxredge
) -> None:
    data, more = folders
    noise(more / "lateral" / "p0a-9.png", 50)
    (more / "lateral" / "copy-1.png").write_bytes(next((data / "a").iterdir()).read_bytes())
    (more / "mass" / "notes.txt").write_text("x")
    plain = cxredge("data", "folder", data, "--patient", "^(.+)-", "--out", tmp_path / "plain")
    assert plain.code == 0, plain.err
    ran = cxredge(
        "data", "folder", data, "--patient", "^(.+)-", "--controls", more,
        "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    manifest = read_manifest(Path(ran.json["manifest"]))
    before = read_manifest(tmp_path / "plain" / "manifest.csv")
    assert manifest.labelled == before.entries
    seen = before.patients() and {e.patient for e in before.entries if e.split is not Split.TEST}
    kept = 4 if "p0a" not in seen else 3
    assert ran.json["controls"] == {"lateral": kept, "mass": 3}
    assert ran.json["dropped"]["duplicate"] == 1
    assert ran.json["dropped"]["not_an_image"] == 1
    assert ran.json["dropped"].get("patient_in_train_or_val", 0) == 4 - kept
    assert ran.json["patients_in_two_splits"] == 0
    assert ran.json["images"] == 24
    assert {e.source for e in manifest.controls} == {"set"}
    assert (
        "Controls, which show none of the classes:"
        in cxredge("data", "audit", ran.json["manifest"]).out
    )


def test_images_in_no_folder_are_controls_named_after_their_folder(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    data, _ = folders
    noise(tmp_path / "laterals" / "1.png", 300)
    (tmp_path / "laterals" / "readme.txt").write_text("x")
    samples, _ = read_folder(data, controls=tmp_path / "laterals")
    controls = [s for s in samples if not s.label]
    assert [(s.finding, s.patient) for s in controls] == [("laterals", "laterals/1.png")]


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("set/a", "lie in each other"),
        (".", "lie in each other"),
        ("none", "is not a folder"),
        ("empty", "has no images that can be used as controls"),
    ],
)
def test_controls_that_cannot_be_used_are_refused(
    folders: tuple[Path, Path], tmp_path: Path, where: str, words: str
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=words):
        read_folder(folders[0], controls=tmp_path / where)


def test_unreadable_controls_are_refused_with_the_reason(
    folders: tuple[Path, Path], tmp_path: Path, cxredge
) -> None:
    (tmp_path / "bad" / "ct").mkdir(parents=True)
    (tmp_path / "bad" / "ct" / "1.png").write_bytes(b"x")
    ran = cxredge(
        "data", "folder", folders[0], "--controls", tmp_path / "bad", "--out", tmp_path / "out"
    )
    assert ran.code == 1
    assert "No control can be used: 1 unreadable." in ran.err


def test_phantoms_keep_their_rows_when_controls_are_added(
    phantoms: Path, manifest: Manifest, tmp_path: Path, cxredge
) -> None:
    ran = cxredge(
        "data", "phantoms", "--patients", 14, "--size", 64, "--controls", "--out", tmp_path / "p",
        "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.json["controls"] == dict.fromkeys(sorted(KINDS), 4)
    found = read_manifest(Path(ran.json["manifest"]))
    rows = [(e.path.name, e.label, e.split, e.patient, e.sha256) for e in manifest.entries]
    assert [(e.path.name, e.label, e.split, e.patient, e.sha256) for e in found.labelled] == rows
    lines = Path(ran.json["manifest"]).read_text().splitlines()
    assert lines[0].endswith(",sha256,finding")
    again = cxredge(
        "data", "phantoms", "--patients", 14, "--size", 64, "--controls", "--out", tmp_path / "p"
    )
    assert again.code == 0, again.err


@pytest.mark.parametrize("kind", KINDS)
def test_controls_differ_by_number_and_seed(kind: str) -> None:
    first = render_control(kind, 3, 64).astype(int)
    assert np.array_equal(first, render_control(kind, 3, 64))
    for other in (render_control(kind, 4, 64), render_control(kind, 3, 64, seed=1)):
        assert np.abs(first - other).mean() > 3


def test_a_folder_that_holds_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "controls").mkdir()
    (tmp_path / "controls" / "mine.txt").write_text("x")
    with pytest.raises(DataError, match="is not an empty folder"):
        write_phantom_controls(tmp_path / "controls", 3, 32)
    assert (tmp_path / "controls" / "mine.txt").read_text() == "x"
