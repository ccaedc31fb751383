"""Preparation of a data set: read, check, deduplicate and split the images, write the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cxredge.artifacts.records import Count
from cxredge.data.adults import read_adults
from cxredge.data.appearance import hash_images
from cxredge.data.cohen import read_cohen
from cxredge.data.controls import apart_from_training, choose_controls
from cxredge.data.duplicates import keep_one_of_each
from cxredge.data.folder import (
    FolderRules,
    check_classes_kept,
    has_split_folders,
    keep_splits,
    read_folder,
)
from cxredge.data.folder_layout import find_layout
from cxredge.data.kermany import read_kermany
from cxredge.data.left_out import LeftOut, write_left_out
from cxredge.data.loading import check_samples
from cxredge.data.manifest import Entry, Sample, write_manifest
from cxredge.data.perceptual_hash import Hashes
from cxredge.data.phantom_controls import write_phantom_controls
from cxredge.data.phantoms import write_phantoms
from cxredge.data.protocols import draw_full, draw_protocol
from cxredge.data.pseudonyms import Pseudonyms
from cxredge.data.set_warnings import split_warnings
from cxredge.data.splits import carve_test, carve_validation, split_fractions
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


@dataclass(frozen=True)
class ProtocolSet(PreparedSet):
    """Summary of a protocol's data set.

    Attributes:
        patients_joined: Number of patient names joined to another, as both share an X-ray.
        not_drawn: Number of usable images that the protocol has no place for.
    """

    patients_joined: Count = 0
    not_drawn: Count = 0


@dataclass(frozen=True)
class ProtocolOptions:
    """Options of :func:`prepare_protocol`.

    Attributes:
        protocol: The paper's data set; None splits all images 70/15/15.
        split_by: Whether patients are kept whole, or images are split as in the paper.
        seed: The same seed draws the same images.
        balanced: Without a protocol: use as many images of each class as the smallest has.
        sars: Without a protocol: keep SARS as a class.
        adults: Folder of a collection of adults, who become controls; None without it.
    """

    protocol: ProtocolName | None
    split_by: SplitBy = SplitBy.PATIENT
    seed: int = 0
    balanced: bool = False
    sars: bool = False
    adults: Path | None = None


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


def prepare_protocol(
    cohen: Path, kermany: Path, out: Path, options: ProtocolOptions, progress: Progress
) -> ProtocolSet:
    """Write the manifest of one of the paper's protocols, or of all images.

    Of an X-ray that exists in several files, one is used, and its patients are joined. The other
    pictures of the Cohen collection become controls, unless their patient is in train or val.

    Args:
        cohen: Folder of the Cohen collection.
        kermany: Folder of the Kermany set.
        out: Folder for ``manifest.csv``.
        options: Protocol and options of the draw.
        progress: Progress listener.

    Raises:
        DataError: A folder has another layout, or a class has too few images.
    """
    found, dropped_covid = read_cohen(cohen, with_controls=True)
    covid = [sample for sample in found if sample.label]
    others = [sample for sample in found if not sample.label]
    pneumonia, dropped_pneumonia = read_kermany(kermany)
    adults, dropped_adults = read_adults(options.adults) if options.adults else ([], LeftOut())
    usable, unusable = _check([*covid, *pneumonia], progress)
    hashes = _hash(usable, progress)
    kept, joined = keep_one_of_each(usable, hashes)
    used, copies = {entry.sha256 for entry in kept}, LeftOut()
    for entry in usable:
        if entry.sha256 not in used:
            copies.leave(entry.path, "near_duplicate")
    dropped = dropped_covid.join(dropped_pneumonia, dropped_adults, unusable, copies)
    if options.protocol is None:
        entries, left_out = draw_full(
            kept, options.split_by, options.seed, balanced=options.balanced, sars=options.sars
        )
        dropped = dropped.join(left_out)
    else:
        entries = draw_protocol(kept, options.protocol, options.split_by, options.seed)
    not_drawn = len(kept) - len(entries) if options.protocol else 0
    with progress.task("Checking controls", 2 * len(others + adults)) as advance:
        controls, no_controls = choose_controls(
            [*others, *adults], usable, hashes, entries, lambda: advance(1)
        )
    prepared = _write(out, [*entries, *controls], dropped.join(no_controls))
    return ProtocolSet(**vars(prepared), patients_joined=joined, not_drawn=not_drawn)


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
    readable, dropped = _check(samples, progress)
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
    prepared = _write(out, [*entries, *controls], ignored.join(dropped, seen))
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
    readable, dropped = _check(samples, progress)
    usable = [entry for entry in readable if entry.label]
    entries = split_fractions(usable, SplitBy.PATIENT, seed, _PHANTOM_FRACTIONS)
    entries += [replace(e, split=Split.CONTROL) for e in readable if not e.label]
    return _write(out, entries, ignored.join(dropped))


def _check(samples: Sequence[Sample], progress: Progress) -> tuple[list[Entry], LeftOut]:
    with progress.task("Checking images", len(samples)) as advance:
        return check_samples(samples, lambda: advance(1))


def _hash(usable: Sequence[Entry], progress: Progress) -> Hashes:
    with progress.task("Comparing images", len(usable)) as advance:
        return hash_images(usable, lambda: advance(1))


def _write(out: Path, entries: Sequence[Entry], dropped: LeftOut) -> PreparedSet:
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
    )
