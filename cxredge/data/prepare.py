"""Preparation of a data set: read, check, deduplicate and split the images, write the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cxredge.artifacts.records import Count
from cxredge.data.controls import apart_from_training
from cxredge.data.folder import (
    FolderRules,
    check_classes_kept,
    has_split_folders,
    keep_splits,
    read_folder,
)
from cxredge.data.folder_layout import find_layout
from cxredge.data.left_out import LeftOut, write_left_out
from cxredge.data.loading import check_samples
from cxredge.data.manifest import Entry, Sample, write_manifest
from cxredge.data.phantom_controls import write_phantom_controls
from cxredge.data.phantoms import write_phantoms
from cxredge.data.pseudonyms import Pseudonyms
from cxredge.data.set_warnings import split_warnings
from cxredge.data.splits import carve_test, carve_validation, split_fractions
from cxredge.progress import Progress
from cxredge.vocabulary import Split, SplitBy

PHANTOM_PATIENT = "^(.+)-[0-9]+$"
"""Pattern of the patient in the file names of phantoms."""
_PHANTOM_FRACTIONS = (0.6, 0.2, 0.2)


@dataclass(frozen=True)
class PreparedSet:
    """Summary of a data set that was written.

    Attributes:
        manifest: Path of the manifest.
        images: Number of images of the classes.
        counts: Number of images by split and class.
        dropped: Number of images left out, by reason.
        patients_in_two_splits: Number of known patients with images in more than one split.
        images_without_patient: Number of images whose patient is not known; each counts as a
            patient of its own.
        warnings: Warnings about the set, in sentences.
        left_out: Path of the list of what was left out, with reasons.
        new_key: Path of the key of the patients' pseudonyms if it was created; None otherwise.
        controls: Number of controls by kind.
        sources: Number of images by class and source.
    """

    manifest: str
    images: Count
    counts: dict[str, dict[str, Count]]
    dropped: dict[str, Count]
    patients_in_two_splits: Count
    images_without_patient: Count = 0
    warnings: tuple[str, ...] = ()
    left_out: str = ""
    new_key: str | None = None
    controls: dict[str, Count] = field(default_factory=dict)
    sources: dict[str, dict[str, Count]] = field(default_factory=dict)


@dataclass(frozen=True)
class FolderOptions:
    """Options of :func:`prepare_folder`.

    Attributes:
        rules: How folders and files are understood.
        patient_key: File with the key of the patients' pseudonyms; None for this user's own.
        split_by: Whether patients are kept whole, or images are split.
        fractions: Shares of train, val and test; they add up to 1.
        seed: The same seed draws the same split.
        controls: Folder with the controls, a folder for each kind; None without controls.
    """

    rules: FolderRules = field(default_factory=FolderRules)
    patient_key: Path | None = None
    split_by: SplitBy = SplitBy.PATIENT
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    seed: int = 0
    controls: Path | None = None


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
        directory, options.rules, pseudonyms, progress.note, options.controls
    )
    readable, dropped = check_all(samples, progress)
    check_classes_kept(samples, readable, dropped)
    usable = [entry for entry in readable if entry.label]
    entries = _split_folder(usable, directory, options, progress)
    others = [entry for entry in readable if not entry.label]
    controls, seen = apart_from_training(others, entries)
    if pseudonyms.used:
        progress.note(
            f"Patients are named by a keyed hash. The key is in {pseudonyms.key_file}: keep it, "
            "and do not give it to recipients of the manifest."
        )
    prepared = write_set(out, [*entries, *controls], ignored.join(dropped, seen))
    return replace(prepared, new_key=str(pseudonyms.key_file) if pseudonyms.created else None)


def _split_folder(
    usable: Sequence[Entry], directory: Path, options: FolderOptions, progress: Progress
) -> list[Entry]:
    """Return the entries with the splits of their folders, or with new ones."""
    given = options.rules.split_folders
    if not has_split_folders(directory, given):
        if find_layout(directory, given).splits:
            progress.note("Only a training folder was found: its images are split anew.")
        return split_fractions(usable, options.split_by, options.seed, options.fractions)
    entries = keep_splits(usable, directory, given)
    held = {entry.split for entry in entries}
    for split, carve in ((Split.VAL, carve_validation), (Split.TEST, carve_test)):
        if split not in held:
            progress.note(
                f"There is no '{split.value}' folder: a fifth of the training images becomes it."
            )
            entries = carve(entries, options.split_by, options.seed)
    return entries


def prepare_phantoms(
    out: Path, patients: int, size: int, seed: int, progress: Progress, controls: bool = False
) -> PreparedSet:
    """Generate phantoms in ``out/images`` and write their manifest.

    Args:
        out: Folder to write.
        patients: Number of patients per class.
        size: Height and width in pixels.
        seed: The same seed draws the same phantoms.
        progress: Progress listener.
        controls: Generate controls too, in ``out/controls``.

    Raises:
        DataError: ``out/images`` or ``out/controls`` is not empty.
    """
    others = out / "controls" if controls else None
    with progress.task("Drawing phantoms", None) as advance:
        write_phantoms(out / "images", patients, size, seed, on_image=lambda: advance(1))
        if others:
            write_phantom_controls(others, patients, size, seed, on_image=lambda: advance(1))
    samples, ignored = read_folder(out / "images", PHANTOM_PATIENT, controls=others)
    readable, dropped = check_all(samples, progress)
    usable = [entry for entry in readable if entry.label]
    entries = split_fractions(usable, SplitBy.PATIENT, seed, _PHANTOM_FRACTIONS)
    entries += [replace(e, split=Split.CONTROL) for e in readable if not e.label]
    return write_set(out, entries, ignored.join(dropped))


def check_all(samples: Sequence[Sample], progress: Progress) -> tuple[list[Entry], LeftOut]:
    """Return the readable images, and those left out."""
    with progress.task("Checking images", len(samples)) as advance:
        return check_samples(samples, lambda: advance(1))


def write_set(out: Path, entries: Sequence[Entry], dropped: LeftOut) -> PreparedSet:
    """Write the manifest and the list of what was left out."""
    left_out = write_left_out(out, dropped)
    manifest = write_manifest(out / "manifest.csv", entries)
    return PreparedSet(
        manifest=str(manifest.path),
        images=len(manifest.labelled),
        counts=manifest.counts(),
        dropped=dict(sorted(dropped.items())),
        patients_in_two_splits=manifest.patients_in_two_splits(),
        images_without_patient=sum(manifest.without_patient().values()),
        warnings=tuple(split_warnings(manifest)),
        left_out=str(left_out),
        controls=manifest.control_counts(),
        sources=manifest.source_counts(),
    )
