"""Which images and patients a network was trained on, by hashes."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxredge.artifacts.records import to_json
from cxredge.artifacts.training_images import SeenCounts, TrainingImages
from cxredge.data.images import GreyImage
from cxredge.data.manifest import Entry, Manifest
from cxredge.data.pseudonyms import PatientKey, patient_key
from cxredge.data.seen_images import (
    count_seen,
    hash_training_images,
    seen_warnings,
    warn_of_gate_images,
)
from cxredge.errors import DataError
from cxredge.vocabulary import Split
from tests.data.image_files import entry, picture

KEY, OTHER = PatientKey(b"a secret of one hospital"), PatientKey(b"a secret of another one")
TRAINING = ("a-1", "b-1", "c-2", "d-?")


def listed(*names: str, split: Split = Split.TEST) -> list[Entry]:
    """Entries named ``image-patient``; a patient '?' is not known."""
    found = []
    for name in names:
        image, patient = name.split("-")
        one = entry(Path(name), split=split, patient=patient, sha256=f"{ord(image):02x}" * 32)
        found.append(replace(one, patient_known=patient != "?"))
    return found


def pixels(entries: Sequence[Entry]) -> GreyImage:
    drawn = [np.full((4, 4), ord(e.path.name[0]), np.uint8) for e in entries]
    return np.stack([*drawn, np.zeros((4, 4), np.uint8)])[:-1]


def trained(
    *names: str, val: Sequence[str] = (), key: PatientKey | None = KEY, earlier=None
) -> TrainingImages:
    used = {Split.TRAIN: listed(*names), Split.VAL: listed(*val)}
    before = () if earlier is None else (earlier,)
    return hash_training_images({s: (es, pixels(es)) for s, es in used.items()}, key, before)


def seen(
    training: TrainingImages, *names: str, key: PatientKey | None = KEY, beside: Sequence[str] = ()
) -> SeenCounts:
    entries = listed(*names)
    manifest = Manifest(Path(), (*listed(*beside, split=Split.TRAIN), *entries), "")
    return count_seen(training, manifest, Split.TEST, pixels(entries), key)


def test_images_and_patients_of_the_training_are_counted() -> None:
    found = seen(trained(*TRAINING, val=["e-3"]), "a-1", "x-2", "y-4", "z-?", "e-3")
    assert (found.images, found.patients) == (1, 2)
    assert (found.validation_images, found.validation_patients) == (1, 1)
    assert (found.images_without_patient, found.training_images_without_patient) == (1, 1)
    assert len(seen_warnings(found)) == 3


def test_copy_with_another_header_is_the_same_image() -> None:
    (original,) = listed("a-1")
    copy = replace(original, sha256="ff" * 32, patient="9")
    manifest = Manifest(Path(), (copy,), "")
    found = count_seen(trained("a-1"), manifest, Split.TEST, pixels([original]), KEY)
    assert (found.images, found.patients) == (1, 0)


@pytest.mark.parametrize("key", [OTHER, None])
@pytest.mark.parametrize(
    ("beside", "patients"), [((), None), (TRAINING[:2], None), (TRAINING[2:], 1), (TRAINING, 1)]
)
def test_without_the_key_patients_are_those_of_training_images_in_the_manifest(
    key: PatientKey | None, beside: Sequence[str], patients: int | None
) -> None:
    assert seen(trained(*TRAINING), "x-2", "y-4", key=key, beside=beside).patients == patients
    none = 0 if beside == TRAINING else None
    assert seen(trained(*TRAINING), "y-4", key=key, beside=beside).patients == none


def test_gate_images_that_were_trained_on_are_warned_of() -> None:
    (sentence,) = warn_of_gate_images(trained(*TRAINING), listed("a-1", "c-2", "x-3"))
    assert sentence.startswith("2 of 3 images of the gate were trained on")
    assert warn_of_gate_images(trained(*TRAINING), listed("x-3")) == []
    assert warn_of_gate_images(None, listed("a-1")) == []


def test_no_identifier_is_in_the_set() -> None:
    found = trained("a-kim", "b-lee", val=["c-kim"])
    text = json.dumps(to_json(found))
    assert "kim" not in text
    assert "lee" not in text
    assert found.splits[Split.TRAIN].patients != trained("a-kim", "b-lee", key=OTHER)
    assert len(found.splits[Split.TRAIN].images[0]) == 16
    nameless = trained("a-kim", key=None)
    assert nameless.patient_key is None
    assert nameless.splits[Split.TRAIN].patients == ()
    assert nameless.splits[Split.TRAIN].images_without_patient == 0


def test_weights_of_a_run_bring_its_images() -> None:
    earlier = trained("a-1", "b-2")
    found = seen(trained("c-3", earlier=earlier), "a-1", "c-3", "x-2")
    assert (found.images, found.patients) == (2, 3)
    # The patients of the earlier run are not comparable: the list would only look complete.
    mixed = trained("c-3", key=OTHER, earlier=earlier)
    assert mixed.patient_key is None
    assert seen(mixed, "x-2", key=OTHER).patients is None


def test_image_without_a_recorded_hash_is_read(tmp_path: Path) -> None:
    image = entry(picture(tmp_path / "a.png", 9), split=Split.TEST)
    grey = np.zeros((1, 4, 4), np.uint8)
    training = hash_training_images({Split.TRAIN: ([image], grey)}, None)
    manifest = Manifest(Path(), (image,), "")
    assert count_seen(training, manifest, Split.TEST, grey + 1, None).images == 1
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match="does not exist"):
        count_seen(training, manifest, Split.TEST, grey + 1, None)


def test_the_key_is_that_of_the_user_or_the_given_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert patient_key(None) is None
    (tmp_path / "cxredge").mkdir()
    (tmp_path / "cxredge" / "patient.key").write_bytes(b"the secret of this user")
    (tmp_path / "given").write_bytes(b"a secret of one hospital")
    mine, given = patient_key(None), patient_key(tmp_path / "given")
    assert mine is not None
    assert given is not None
    assert given.name == KEY.name != mine.name
    with pytest.raises(DataError, match="key"):
        patient_key(tmp_path / "none")
