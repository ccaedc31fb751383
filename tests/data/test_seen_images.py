"""Which images and patients a network was trained on, by hashes."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxredge.artifacts.records import to_json
from cxredge.artifacts.training_images import TrainingImages
from cxredge.data.images import GreyImage
from cxredge.data.manifest import Entry
from cxredge.data.pseudonyms import PatientKey, evaluation_key, training_key
from cxredge.data.seen_images import count_seen, hash_training_images, seen_warnings
from cxredge.errors import DataError
from cxredge.progress import Silent
from cxredge.vocabulary import Split
from tests.data.image_files import entry, picture

KEY, OTHER = PatientKey(b"a secret of one hospital"), PatientKey(b"a secret of another one")


def listed(*names: str) -> list[Entry]:
    """Entries named ``image-patient``; a patient '?' is not known."""
    found = []
    for name in names:
        image, patient = name.split("-")
        sha256 = f"{ord(image):02x}" * 32
        one = entry(Path(name), patient=patient, sha256=sha256)
        found.append(replace(one, patient_known=patient != "?"))
    return found


def pixels(entries: Sequence[Entry]) -> GreyImage:
    return np.stack([np.full((4, 4), ord(e.path.name[0]), np.uint8) for e in entries])


def trained(*names: str, val: Sequence[str] = (), key: PatientKey | None = KEY) -> TrainingImages:
    used = {Split.TRAIN: listed(*names), Split.VAL: listed(*val)}
    return hash_training_images(
        {s: (es, pixels(es) if es else np.zeros((0, 4, 4), np.uint8)) for s, es in used.items()},
        key,
    )


def test_images_and_patients_of_the_training_are_counted() -> None:
    training = trained("a-1", "b-1", "c-2", "d-?", val=["e-3"])
    evaluated = listed("a-1", "x-2", "y-4", "z-?", "e-3")
    seen = count_seen(training, evaluated, pixels(evaluated), KEY)
    assert (seen.images, seen.patients) == (1, 2)
    assert (seen.validation_images, seen.validation_patients) == (1, 1)
    assert (seen.images_without_patient, seen.training_images_without_patient) == (1, 1)
    assert len(seen_warnings(seen)) == 3


def test_copy_with_another_header_is_the_same_image() -> None:
    (original,) = listed("a-1")
    copy = replace(original, sha256="ff" * 32, patient="9")
    assert count_seen(trained("a-1"), [copy], pixels([original]), KEY).images == 1


@pytest.mark.parametrize("key", [OTHER, None])
def test_patients_are_not_compared_without_the_key_of_the_training(key: PatientKey | None) -> None:
    evaluated = listed("x-1")
    seen = count_seen(trained("a-1"), evaluated, pixels(evaluated), key)
    assert (seen.images, seen.patients, seen.validation_patients) == (0, None, None)


def test_no_identifier_is_in_the_set() -> None:
    found = trained("a-kim", "b-lee", val=["c-kim"])
    text = json.dumps(to_json(found))
    assert "kim" not in text
    assert "lee" not in text
    assert found.splits[Split.TRAIN].patients != trained("a-kim", "b-lee", key=OTHER)
    assert len(found.splits[Split.TRAIN].images[0]) == 16


def test_weights_of_a_run_bring_its_images() -> None:
    earlier = trained("a-1", "b-2")
    entries = listed("c-3")
    both = hash_training_images({Split.TRAIN: (entries, pixels(entries))}, KEY, earlier)
    evaluated = listed("a-1", "c-3", "x-2")
    seen = count_seen(both, evaluated, pixels(evaluated), KEY)
    assert (seen.images, seen.patients) == (2, 3)
    other = hash_training_images({Split.TRAIN: (entries, pixels(entries))}, OTHER, earlier)
    assert other.splits[Split.TRAIN].images_without_patient == 2


def test_image_without_a_recorded_hash_is_read(tmp_path: Path) -> None:
    image = entry(picture(tmp_path / "a.png", 9))
    grey = np.zeros((1, 4, 4), np.uint8)
    training = hash_training_images({Split.TRAIN: ([image], grey)}, None)
    assert count_seen(training, [image], grey + 1, None).images == 1
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match="does not exist"):
        count_seen(training, [image], grey + 1, None)


def test_a_training_creates_the_key_of_its_user_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    notes: list[str] = []
    progress = Silent()
    monkeypatch.setattr(progress, "note", notes.append)
    assert evaluation_key(None) is None
    key = training_key(None, progress)
    assert key is not None
    assert str(tmp_path / "cxredge" / "patient.key") in notes[0]
    found = evaluation_key(None)
    assert found is not None
    assert found.name == key.name != OTHER.name
    assert training_key(None, progress) is not None
    assert len(notes) == 1


def test_a_training_without_a_place_for_the_key_lists_no_patients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    assert training_key(None, Silent()) is None
    assert trained("a-1", key=None).splits[Split.TRAIN].images_without_patient == 1
    with pytest.raises(DataError, match="key"):
        training_key(tmp_path / "none", Silent())
