"""The set of images and patients that a network was trained on: hashes, without identifiers.

``training-images.json`` lies beside the card of a run, and of everything that is made from it, so
that an evaluation can tell which of its images the network has seen.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from cxredge.artifacts.atomic import write_text
from cxredge.artifacts.card import AnyCard
from cxredge.artifacts.records import Count, read_record, to_json
from cxredge.vocabulary import Split

TRAINING_IMAGES_NAME = "training-images.json"
HASH_CHARACTERS = 16

ShortHash = Annotated[str, msgspec.Meta(pattern=f"^[0-9a-f]{{{HASH_CHARACTERS}}}$")]
"""The first 64 bits of a hash: of a million images, two share one with a chance of 3 in 10^8."""


@dataclass(frozen=True, kw_only=True)
class SplitHashes:
    """Hashes of the images of one split; each is listed once, sorted.

    Attributes:
        images: SHA-256 of the files.
        pixels: SHA-256 of the decoded grey images, which copies with another header share.
        patients: Keyed hashes of the known patients.
        images_without_patient: Number of images whose patient is not known.
    """

    images: tuple[ShortHash, ...]
    pixels: tuple[ShortHash, ...]
    patients: tuple[ShortHash, ...]
    images_without_patient: Count


@dataclass(frozen=True, kw_only=True)
class TrainingImages:
    """Content of ``training-images.json``.

    Attributes:
        schema: Format of the file.
        patient_key: Identifies the secret key of the patients' hashes, which is not in the file;
            None if no patient is listed.
        splits: Hashes of the images that the weights were fitted to (``train``), and of those that
            chose the epoch (``val``).
    """

    schema: Literal["cxredge.training-images/1"] = "cxredge.training-images/1"
    patient_key: ShortHash | None
    splits: Mapping[Split, SplitHashes]


@dataclass(frozen=True, kw_only=True)
class SeenCounts:
    """Number of evaluated images and patients that the network had seen.

    Attributes:
        images: Images that it was trained on.
        patients: Patients with images that it was trained on; None if that is not known: the
            manifest lacks training images, and the key of the hashes is not on this machine.
        validation_images: Images that chose the epoch.
        validation_patients: Patients with images that chose the epoch; None as for ``patients``.
        images_without_patient: Evaluated images whose patient is not known.
        training_images_without_patient: Training images whose patient is not known.
    """

    images: Count
    patients: Count | None
    validation_images: Count
    validation_patients: Count | None
    images_without_patient: Count
    training_images_without_patient: Count


def write_training_images(folder: Path, found: TrainingImages) -> None:
    """Write the set into the folder of a run, without line breaks: it has up to 100 kB."""
    text = json.dumps(to_json(found), separators=(",", ":"))
    write_text(folder / TRAINING_IMAGES_NAME, text + "\n")


def read_training_images(folder: Path, card: AnyCard) -> TrainingImages | None:
    """Return the set of an artifact; None if its card does not list one.

    Raises:
        ArtifactError: The file is not valid.
    """
    if TRAINING_IMAGES_NAME not in card.files:
        return None
    return read_record(folder / TRAINING_IMAGES_NAME, TrainingImages)


def copy_training_images(source: Path, card: AnyCard, folder: Path) -> None:
    """Copy the set of an artifact into the folder of what is made from it, if it has one."""
    if TRAINING_IMAGES_NAME in card.files:
        shutil.copyfile(source / TRAINING_IMAGES_NAME, folder / TRAINING_IMAGES_NAME)


def training_images_parent(card: AnyCard) -> dict[str, str]:
    """Return the set's hash as a parent of what is made from an artifact; empty without a set."""
    found = card.files.get(TRAINING_IMAGES_NAME)
    return {"training_images": found} if found else {}
