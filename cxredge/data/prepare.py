"""Preparation of a data set: read, check, deduplicate and split the images, write the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cxredge.artifacts.records import Count
from cxredge.data.appearance import hash_images
from cxredge.data.cohen import read_cohen
from cxredge.data.duplicates import keep_one_of_each
from cxredge.data.folder import has_split_folders, keep_splits, read_folder
from cxredge.data.kermany import read_kermany
from cxredge.data.loading import check_samples
from cxredge.data.manifest import Entry, Sample, write_manifest
from cxredge.data.phantoms import write_phantoms
from cxredge.data.protocols import draw_full, draw_protocol
from cxredge.data.pseudonyms import Pseudonyms
from cxredge.data.splits import carve_validation, split_fractions
from cxredge.progress import Progress
from cxredge.vocabulary import ProtocolName, Split, SplitBy

PHANTOM_PATIENT = "^(.+)-[0-9]+$"
"""Pattern of the patient in the file names of phantoms."""
_PHANTOM_FRACTIONS = (0.6, 0.2, 0.2)


@dataclass(frozen=True)
class PreparedSet:
    """Summary of a data set that was written.

    Attributes:
        manifest: Path of the manifest.
        images: Number of images.
        counts: Number of images by split and class.
        dropped: Number of images left out, by reason.
        patients_in_two_splits: Number of patients with images in more than one split.
        new_key: Path of the key of the patients' pseudonyms if it was created; None otherwise.
    """

    manifest: str
    images: Count
    counts: dict[str, dict[str, Count]]
    dropped: dict[str, Count]
    patients_in_two_splits: Count
    new_key: str | None = None


@dataclass(frozen=True)
class ProtocolSet(PreparedSet):
    """Summary of a protocol's data set.

    Attributes:
        patients_joined: Number of patient names joined to another, as both share an X-ray.
    """

    patients_joined: Count = 0


@dataclass(frozen=True)
class ProtocolOptions:
    """Options of :func:`prepare_protocol`.

    Attributes:
        protocol: The paper's data set; None splits all images 70/15/15.
        split_by: Whether patients are kept whole, or images are split as in the paper.
        seed: The same seed draws the same images.
        balanced: Without a protocol: use as many images of each class as the smallest has.
        sars: Without a protocol: keep SARS as a class.
    """

    protocol: ProtocolName | None
    split_by: SplitBy = SplitBy.PATIENT
    seed: int = 0
    balanced: bool = False
    sars: bool = False


@dataclass(frozen=True)
class FolderOptions:
    """Options of :func:`prepare_folder`.

    Attributes:
        patient_pattern: See :func:`~cxredge.data.folder.read_folder`.
        patient_key: File with the key of the patients' pseudonyms; None for this user's own.
        keep_burned_in: See :func:`~cxredge.data.folder.read_folder`.
        split_by: Whether patients are kept whole, or images are split.
        fractions: Shares of train, val and test; they add up to 1.
        seed: The same seed draws the same split.
    """

    patient_pattern: str | None = None
    patient_key: Path | None = None
    keep_burned_in: bool = False
    split_by: SplitBy = SplitBy.PATIENT
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    seed: int = 0


def prepare_protocol(
    cohen: Path, kermany: Path, out: Path, options: ProtocolOptions, progress: Progress
) -> ProtocolSet:
    """Write the manifest of one of the paper's protocols, or of all images.

    Of an X-ray that exists in several files, one is used, and its patients are joined.

    Args:
        cohen: Folder of the Cohen collection.
        kermany: Folder of the Kermany set.
        out: Folder for ``manifest.csv``.
        options: Protocol and options of the draw.
        progress: Progress listener.

    Raises:
        DataError: A folder has another layout, or a class has too few images.
    """
    covid, dropped_covid = read_cohen(cohen)
    pneumonia, dropped_pneumonia = read_kermany(kermany)
    usable, unusable = _check([*covid, *pneumonia], progress)
    kept, joined = _keep_one_of_each(usable, progress)
    copies = +Counter(near_duplicate=len(usable) - len(kept))
    dropped = dropped_covid + dropped_pneumonia + unusable + copies
    if options.protocol is None:
        entries, left_out = draw_full(
            kept, options.split_by, options.seed, balanced=options.balanced, sars=options.sars
        )
        dropped += left_out
    else:
        entries = draw_protocol(kept, options.protocol, options.split_by, options.seed)
    return ProtocolSet(**vars(_write(out, entries, dropped)), patients_joined=joined)


def prepare_folder(
    directory: Path, out: Path, options: FolderOptions, progress: Progress
) -> PreparedSet:
    """Write the manifest of a set with one folder per class.

    Existing train and test folders are kept; without a validation folder, part of the training
    images becomes the validation split.

    Args:
        directory: See :func:`~cxredge.data.folder.read_folder`.
        out: Folder for ``manifest.csv``.
        options: Options of patients and splits.
        progress: Progress listener.

    Raises:
        DataError: The folder has fewer than two classes, or the pattern or key is invalid.
    """
    pseudonyms = Pseudonyms(options.patient_key)
    samples, ignored = read_folder(
        directory, options.patient_pattern, pseudonyms, options.keep_burned_in
    )
    usable, dropped = _check(samples, progress)
    if not has_split_folders(directory):
        entries = split_fractions(usable, options.split_by, options.seed, options.fractions)
    else:
        entries = keep_splits(usable, directory)
        if not any(entry.split is Split.VAL for entry in entries):
            entries = carve_validation(entries, options.split_by, options.seed)
    if pseudonyms.used:
        progress.note(
            f"Patients are named by a keyed hash. The key is in {pseudonyms.key_file}: keep it, "
            "and do not give it to recipients of the manifest."
        )
    elif options.patient_pattern is None:
        progress.note(
            "Every image counts as a separate patient. If patients have several images, give the "
            "pattern of the patient in their file names: --patient '^(.+)-[0-9]+$'"
        )
    prepared = _write(out, entries, ignored + dropped)
    return replace(prepared, new_key=str(pseudonyms.key_file) if pseudonyms.created else None)


def prepare_phantoms(
    out: Path, patients: int, size: int, seed: int, progress: Progress
) -> PreparedSet:
    """Generate phantoms in ``out/images`` and write their manifest.

    Args:
        out: Folder to write.
        patients: Number of patients per class.
        size: Height and width in pixels.
        seed: The same seed draws the same phantoms.
        progress: Progress listener.

    Raises:
        DataError: ``out/images`` is not empty.
    """
    with progress.task("Drawing phantoms", None) as advance:
        write_phantoms(out / "images", patients, size, seed, on_image=lambda: advance(1))
    samples, ignored = read_folder(out / "images", PHANTOM_PATIENT)
    usable, dropped = _check(samples, progress)
    entries = split_fractions(usable, SplitBy.PATIENT, seed, _PHANTOM_FRACTIONS)
    return _write(out, entries, ignored + dropped)


def _check(samples: Sequence[Sample], progress: Progress) -> tuple[list[Entry], Counter[str]]:
    with progress.task("Checking images", len(samples)) as advance:
        return check_samples(samples, lambda: advance(1))


def _keep_one_of_each(usable: Sequence[Entry], progress: Progress) -> tuple[list[Entry], int]:
    with progress.task("Comparing images", len(usable)) as advance:
        hashes = hash_images(usable, lambda: advance(1))
    return keep_one_of_each(usable, hashes)


def _write(out: Path, entries: Sequence[Entry], dropped: Counter[str]) -> PreparedSet:
    manifest = write_manifest(out / "manifest.csv", entries)
    return PreparedSet(
        manifest=str(manifest.path),
        images=len(manifest.entries),
        counts=manifest.counts(),
        dropped=dict(sorted(dropped.items())),
        patients_in_two_splits=manifest.patients_in_two_splits(),
    )
