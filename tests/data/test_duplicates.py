from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cxredge.data.appearance import extract_appearance, hash_images
from cxredge.data.duplicates import keep_one_of_each, near_duplicates_across_splits
from cxredge.data.manifest import Entry
from cxredge.data.perceptual_hash import BITS
from cxredge.data.phantoms import render_phantom
from cxredge.vocabulary import Split

Make = Callable[..., Entry]


@pytest.fixture
def xray(tmp_path: Path) -> Make:
    """Write the chest of a number; other qualities are other files of the same X-ray."""

    def make(number: int, patient: str, split: Split = Split.TRAIN, quality: int = 90) -> Entry:
        path = tmp_path / f"{number}-{patient}-{quality}.jpg"
        Image.fromarray(render_phantom("normal", number, 0)).save(path, quality=quality)
        return Entry(path, "normal", patient, "s", split=split, sha256="")

    return make


def test_near_duplicates_are_counted_across_splits_only(xray: Make) -> None:
    entries = [
        xray(0, "a"),
        xray(0, "b", Split.TEST, 50),
        xray(1, "c"),
        xray(1, "d", Split.TRAIN, 50),
        xray(2, "e", Split.VAL),
    ]
    found = near_duplicates_across_splits(extract_appearance(entries))
    assert (found.count, found.images) == (1, 2)
    (example,) = found.examples
    assert example.paths == (str(entries[0].path), str(entries[1].path))
    assert example.splits == ("train", "test")
    assert example.of_bits == BITS
    assert not example.changed


def test_files_of_equal_bytes_are_counted_elsewhere(xray: Make) -> None:
    equal = [
        Entry(**{**xray(0, patient, split).__dict__, "sha256": ""})
        for patient, split in (("a", Split.TRAIN), ("b", Split.TEST))
    ]
    assert near_duplicates_across_splits(extract_appearance(equal)).count == 1
    from cxredge.artifacts.hashing import sha256_of_file

    hashed = [Entry(**{**e.__dict__, "sha256": sha256_of_file(e.path)}) for e in equal]
    assert hashed[0].sha256 == hashed[1].sha256
    assert near_duplicates_across_splits(extract_appearance(hashed)).count == 0


def test_examples_are_the_twenty_nearest(xray: Make) -> None:
    split = (Split.TRAIN, Split.TEST)
    entries = [xray(0, str(n), split[n % 2], 90 - 8 * n) for n in range(10)]
    found = near_duplicates_across_splits(extract_appearance(entries))
    assert (found.count, found.images) == (25, 10)
    bits = [example.bits for example in found.examples]
    assert len(bits) == 20
    assert bits == sorted(bits)


def test_one_file_of_each_xray_is_kept_and_its_patients_joined(xray: Make) -> None:
    entries = [
        xray(5, "z"),
        xray(0, "b"),
        xray(0, "a", quality=60),
        xray(1, "a"),
        xray(1, "c", quality=60),
        xray(2, "c"),
        xray(3, "d"),
    ]
    kept, joined = keep_one_of_each(entries, hash_images(entries))
    assert [(e.path, e.patient) for e in kept] == [
        (entries[0].path, "z"),
        (entries[1].path, "b"),
        (entries[3].path, "b"),
        (entries[5].path, "b"),
        (entries[6].path, "d"),
    ]
    assert joined == 2


def test_nothing_changes_without_copies(xray: Make) -> None:
    entries = [xray(number, str(number)) for number in range(4)]
    assert keep_one_of_each(entries, hash_images(entries)) == (entries, 0)
    assert keep_one_of_each([], hash_images([])) == ([], 0)
