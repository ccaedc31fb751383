from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from cxredge.data.manifest import Entry, Manifest
from cxredge.errors import DataError
from cxredge.quantization.calibration_set import (
    MIN_IMAGES,
    check_apart,
    choose,
    read_calibration,
    too_few_images,
)
from cxredge.vocabulary import Split


def made(images_of_patient: dict[str, tuple[str, int]]) -> Manifest:
    entries = tuple(
        Entry(Path(f"{patient}-{n}.png"), label, patient, "s", "", Split.TRAIN, f"{patient}{n}")
        for patient, (label, count) in images_of_patient.items()
        for n in range(count)
    )
    held_out = Entry(Path("t.png"), "a", "t", "s", "", Split.TEST, "t")
    return Manifest(Path("m.csv"), (*entries, held_out), "sha")


def test_only_training_images_are_chosen_and_classes_are_balanced() -> None:
    manifest = made({f"a{n}": ("a", 2) for n in range(20)} | {f"b{n}": ("b", 2) for n in range(9)})
    chosen = choose(manifest, 16, seed=0)
    assert Counter(entry.label for entry in chosen) == {"a": 8, "b": 8}
    assert {entry.split for entry in chosen} == {Split.TRAIN}


def test_every_patient_is_drawn_once_before_any_is_drawn_twice() -> None:
    manifest = made({"a0": ("a", 50), **{f"a{n}": ("a", 1) for n in range(1, 6)}, "b": ("b", 3)})
    chosen = choose(manifest, 9, seed=0)
    assert Counter(entry.patient for entry in chosen if entry.label == "a") == {
        f"a{n}": 1 for n in range(6)
    }


def test_larger_classes_make_up_for_a_small_one() -> None:
    manifest = made({f"a{n}": ("a", 1) for n in range(30)} | {"b": ("b", 2)})
    assert Counter(entry.label for entry in choose(manifest, 20, 0)) == {"a": 18, "b": 2}


def test_the_seed_decides_regardless_of_order() -> None:
    manifest = made({f"a{n}": ("a", 2) for n in range(20)} | {f"b{n}": ("b", 2) for n in range(20)})
    turned = replace(manifest, entries=manifest.entries[::-1])
    assert set(choose(manifest, 10, 5)) == set(choose(turned, 10, 5))
    assert set(choose(manifest, 10, 5)) != set(choose(manifest, 10, 6))


@pytest.mark.parametrize("count", [0, -1, 1000])
def test_impossible_counts_are_refused(count: int) -> None:
    with pytest.raises(DataError, match="calibration images were requested"):
        choose(made({"a": ("a", 3), "b": ("b", 3)}), count, 0)


def test_a_list_with_held_out_images_is_refused(phantoms: Path) -> None:
    with pytest.raises(DataError, match="outside the training split"):
        read_calibration(phantoms / "manifest.csv")


def test_an_image_in_both_lists_is_refused() -> None:
    manifest = made({"a": ("a", 3), "b": ("b", 3)})
    evaluated = replace(manifest, entries=(replace(manifest.entries[0], split=Split.TEST),))
    with pytest.raises(DataError, match="1 images are in both"):
        check_apart(manifest, evaluated, Split.TEST)


def test_a_patient_in_both_lists_is_refused() -> None:
    calibration = made({"a": ("a", 3), "b": ("b", 3)})
    other = replace(calibration.entries[0], sha256="another image", split=Split.TEST)
    with pytest.raises(DataError, match="1 patients of the evaluation split"):
        check_apart(calibration, replace(calibration, entries=(other,)), Split.TEST)
    by_image = replace(calibration, entries=(*calibration.entries[:1], other))
    with pytest.raises(DataError, match="1 images are in both"):
        check_apart(calibration, by_image, Split.TRAIN)
    check_apart(calibration, by_image, Split.TEST)
    elsewhere = replace(other, source="another hospital")
    check_apart(calibration, replace(calibration, entries=(elsewhere,)), Split.TEST)


def test_too_few_images_cause_a_warning() -> None:
    entry = made({"a": ("a", 1)}).entries[0]
    enough = Manifest(Path("m.csv"), (entry,) * MIN_IMAGES, "sha")
    assert too_few_images(enough) == ""
    assert "99 calibration images are few" in too_few_images(
        replace(enough, entries=enough.entries[1:])
    )
