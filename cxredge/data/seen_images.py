"""Comparison of images with those that a network was trained on, by hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from cxredge.artifacts.training_images import (
    HASH_CHARACTERS,
    SeenCounts,
    SplitHashes,
    TrainingImages,
)
from cxredge.data.images import GreyImage
from cxredge.data.manifest import Entry, Manifest
from cxredge.data.pseudonyms import PatientKey
from cxredge.data.sources import sha256_of_source
from cxredge.errors import DataError, ImageError
from cxredge.vocabulary import Split

_NOTHING = SplitHashes(images=(), pixels=(), patients=(), images_without_patient=0)


def hash_training_images(
    splits: Mapping[Split, tuple[Sequence[Entry], GreyImage]],
    key: PatientKey | None,
    earlier: Sequence[TrainingImages] = (),
) -> TrainingImages:
    """Return the hashes of the images of a training.

    Args:
        splits: Entries and decoded images, uint8 (N, S, S), of the splits that training uses.
        key: Key of the patients' hashes; None to leave patients out.
        earlier: The sets of the runs whose weights the training starts from or that teach it.

    Raises:
        DataError: An image without a recorded hash cannot be read.
    """
    if key is not None and any(one.patient_key != key.name for one in earlier):
        key = None  # a list without the earlier patients would look complete
    found = {}
    for split, (entries, pixels) in splits.items():
        before = [one.splits.get(split, _NOTHING) for one in earlier]
        known = [entry for entry in entries if entry.patient_known]
        patients = (_patient_hash(entry, key) for entry in known) if key else ()
        found[split] = SplitHashes(
            images=_union(map(_image_hash, entries), *(one.images for one in before)),
            pixels=_union(map(_pixel_hash, pixels), *(one.pixels for one in before)),
            patients=_union(patients, *(one.patients for one in before if key)),
            images_without_patient=len(entries)
            - len(known)
            + sum(one.images_without_patient for one in before),
        )
    return TrainingImages(patient_key=key.name if key else None, splits=found)


def count_seen(
    training: TrainingImages,
    manifest: Manifest,
    split: Split,
    pixels: GreyImage,
    key: PatientKey | None,
) -> SeenCounts:
    """Count the images and patients of a split that a network was trained on.

    A patient was trained on if the manifest, in any split, holds a training image of the same
    patient, or by the keyed hash.

    Args:
        training: The set of the network.
        manifest: The manifest.
        split: The split.
        pixels: Its decoded images, uint8 (N, S, S), in the size that the network was trained on.
        key: Key of the patients' hashes on this machine; None if there is none.

    Raises:
        DataError: An image without a recorded hash cannot be read.
    """
    entries = manifest.of(split)
    hashes = [(_image_hash(e), _pixel_hash(p)) for e, p in zip(entries, pixels, strict=True)]
    same_key = key if key and key.name == training.patient_key else None
    train = training.splits.get(Split.TRAIN, _NOTHING)
    val = training.splits.get(Split.VAL, _NOTHING)
    return SeenCounts(
        images=_images_in(train, hashes),
        patients=_patients_in(train, manifest, entries, same_key),
        validation_images=_images_in(val, hashes),
        validation_patients=_patients_in(val, manifest, entries, same_key),
        images_without_patient=sum(not entry.patient_known for entry in entries),
        training_images_without_patient=train.images_without_patient,
    )


def warn_of_gate_images(training: TrainingImages | None, entries: Sequence[Entry]) -> list[str]:
    """Return a sentence if the network was trained on images that a gate measures accuracy on.

    Args:
        training: The set of the network; None if it is not known.
        entries: Images of the gate. Those without a recorded hash are not compared.
    """
    images = frozenset(training.splits.get(Split.TRAIN, _NOTHING).images) if training else ()
    seen = sum(entry.sha256[:HASH_CHARACTERS] in images for entry in entries)
    if not seen:
        return []
    return [f"{seen} of {len(entries)} images of the gate were trained on: accuracy is optimistic."]


def _images_in(split: SplitHashes, hashes: Iterable[tuple[str, str]]) -> int:
    images, pixels = frozenset(split.images), frozenset(split.pixels)
    return sum(of_file in images or of_pixels in pixels for of_file, of_pixels in hashes)


def _patients_in(
    split: SplitHashes, manifest: Manifest, entries: Sequence[Entry], key: PatientKey | None
) -> int | None:
    """Return how many of the patients have images in a split; None if that cannot be known."""
    images = frozenset(split.images)
    patient_of = {_image_hash(e): e.patient for e in manifest.entries if _has_hash(e)}
    found = {patient_of[image] for image in images.intersection(patient_of)}
    known = {entry.patient: entry for entry in entries if entry.patient_known}
    seen = found.intersection(known)
    if key:
        hashed = frozenset(split.patients)
        seen |= {name for name, one in known.items() if _patient_hash(one, key) in hashed}
    complete = key or images <= patient_of.keys()
    return len(seen) if complete or seen else None


def _union(*hashes: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(frozenset().union(*hashes)))


def _image_hash(entry: Entry) -> str:
    try:
        sha256 = entry.sha256 or sha256_of_source(entry.path)
    except ImageError as error:
        raise DataError(error.message, "Make the manifest again.") from None
    return sha256[:HASH_CHARACTERS]


def _has_hash(entry: Entry) -> bool:
    """Return whether the hash is recorded, or the file can be read."""
    return bool(entry.sha256) or entry.path.is_file()


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
