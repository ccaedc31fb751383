"""Comparison of images with those that a network was trained on, by hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence

from cxredge.artifacts.training_images import (
    HASH_CHARACTERS,
    SeenCounts,
    SplitHashes,
    TrainingImages,
)
from cxredge.data.images import GreyImage
from cxredge.data.manifest import Entry
from cxredge.data.pseudonyms import PatientKey
from cxredge.data.sources import sha256_of_source
from cxredge.errors import DataError, ImageError
from cxredge.vocabulary import Split


def hash_training_images(
    splits: Mapping[Split, tuple[Sequence[Entry], GreyImage]],
    key: PatientKey | None,
    earlier: TrainingImages | None = None,
) -> TrainingImages:
    """Return the hashes of the images of a training.

    Args:
        splits: Entries and decoded images, uint8 (N, S, S), of the splits that training uses.
        key: Key of the patients' hashes; None to leave patients out.
        earlier: The set of the run whose weights the training starts from.

    Raises:
        DataError: An image without a recorded hash cannot be read.
    """
    keep = earlier is not None and key is not None and earlier.patient_key == key.name
    found = {}
    for split, (entries, pixels) in splits.items():
        before = earlier.splits.get(split) if earlier else None
        known = [entry for entry in entries if entry.patient_known] if key else []
        found[split] = SplitHashes(
            images=_union(map(_image_hash, entries), before.images if before else ()),
            pixels=_union(map(_pixel_hash, pixels), before.pixels if before else ()),
            patients=_union(
                (_patient_hash(entry, key) for entry in known if key),
                before.patients if before and keep else (),
            ),
            images_without_patient=len(entries) - len(known) + _unnamed(before, keep),
        )
    return TrainingImages(patient_key=key.name if key else None, splits=found)


def count_seen(
    training: TrainingImages, entries: Sequence[Entry], pixels: GreyImage, key: PatientKey | None
) -> SeenCounts:
    """Count the images and patients that a network was trained on.

    Args:
        training: The set of the network.
        entries: The images.
        pixels: The decoded images, uint8 (N, S, S), in the size that the network was trained on.
        key: Key of the patients' hashes on this machine; None if there is none.

    Raises:
        DataError: An image without a recorded hash cannot be read.
    """
    comparable = key if key and key.name == training.patient_key else None
    hashes = [(_image_hash(e), _pixel_hash(p)) for e, p in zip(entries, pixels, strict=True)]
    known = [entry for entry in entries if entry.patient_known]
    patients = {_patient_hash(entry, comparable) for entry in known} if comparable else None
    train, val = training.splits.get(Split.TRAIN), training.splits.get(Split.VAL)
    return SeenCounts(
        images=_images_in(train, hashes),
        patients=_patients_in(train, patients),
        validation_images=_images_in(val, hashes),
        validation_patients=_patients_in(val, patients),
        images_without_patient=len(entries) - len(known),
        training_images_without_patient=train.images_without_patient if train else 0,
    )


def _images_in(split: SplitHashes | None, hashes: Iterable[tuple[str, str]]) -> int:
    if split is None:
        return 0
    images, pixels = frozenset(split.images), frozenset(split.pixels)
    return sum(of_file in images or of_pixels in pixels for of_file, of_pixels in hashes)


def _patients_in(split: SplitHashes | None, patients: Collection[str] | None) -> int | None:
    if patients is None:
        return None
    return len(frozenset(split.patients).intersection(patients)) if split else 0


def _unnamed(before: SplitHashes | None, keep: bool) -> int:
    """Return the number of earlier images whose patients are not known or cannot be compared."""
    if before is None:
        return 0
    return before.images_without_patient if keep else len(before.images)


def _union(hashes: Iterable[str], more: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({*hashes, *more}))


def _image_hash(entry: Entry) -> str:
    try:
        sha256 = entry.sha256 or sha256_of_source(entry.path)
    except ImageError as error:
        raise DataError(error.message, "Make the manifest again.") from None
    return sha256[:HASH_CHARACTERS]


def _pixel_hash(pixels: GreyImage) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()[:HASH_CHARACTERS]


def _patient_hash(entry: Entry, key: PatientKey) -> str:
    return key.hash_of("training images", entry.patient)[:HASH_CHARACTERS]


def seen_warnings(seen: SeenCounts | None) -> list[str]:
    """Return a sentence if the network was trained on some of the images or patients."""
    if seen is None:
        return []
    found = []
    if seen.images:
        found.append(f"{seen.images} of the images were trained on: accuracy is optimistic.")
    if seen.patients:
        found.append(
            f"{seen.patients} of the patients have images that were trained on: accuracy is "
            "optimistic."
        )
    if seen.validation_images:
        found.append(
            f"{seen.validation_images} of the images chose the epoch of the training: accuracy is "
            "optimistic."
        )
    return found
