"""Reader for any data set with one folder per class."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cxredge.data.folder_layout import ClassFolder, find_kinds, find_layout, inner_set
from cxredge.data.inputs import Skipped, walk_images
from cxredge.data.left_out import LeftOut
from cxredge.data.manifest import Entry, Sample, check_class_names
from cxredge.data.patients import WAYS, Found, PatientRule, name_patients, why_no_patient
from cxredge.data.pseudonyms import Pseudonyms
from cxredge.data.sources import ImageSource, is_dicom_source
from cxredge.data.zip_members import ZipMember, path_through
from cxredge.errors import DataError, DependencyError, ImageError, quoted
from cxredge.vocabulary import PatientFrom, Split

if TYPE_CHECKING:
    from cxredge.data.dicom.exposure import Exposure

SplitFolders = Mapping[str, Split]
"""Splits of folders whose names are not usual."""


@dataclass(frozen=True)
class FolderRules:
    """How the folders and files of a set are understood.

    Attributes:
        patients: Where the names of patients come from.
        keep_burned_in: Keep DICOM files whose header reports burned-in text, which may name the
            patient.
        split_folders: Splits of folders whose names are not usual.
    """

    patients: PatientRule = field(default_factory=PatientRule)
    keep_burned_in: bool = False
    split_folders: SplitFolders | None = None

    @classmethod
    def of_pattern(cls, pattern: str | None) -> FolderRules:
        """Return the rules of a set whose file names name the patients, if there is a pattern."""
        if pattern is None:
            return cls()
        return cls(PatientRule(PatientFrom.NAME, pattern))


def has_split_folders(directory: Path, given: SplitFolders | None = None) -> bool:
    """Return whether the set is already split: ``train/CLASS``, ``test/CLASS`` and so on."""
    try:
        splits = find_layout(directory, given).splits
    except DataError:
        return False
    return Split.TRAIN in splits and len(splits) > 1


def read_folder(
    directory: Path,
    rules: FolderRules | str | None = None,
    pseudonyms: Pseudonyms | None = None,
    note: Callable[[str], None] = lambda _: None,
    controls: Path | None = None,
) -> tuple[list[Sample], LeftOut]:
    """Return the images of ``DIR/CLASS/``, ``DIR/SPLIT/CLASS/`` or ``DIR/CLASS/SPLIT/``.

    Subfolders and zip archives are included.

    Args:
        directory: The data set.
        rules: How it is understood; a string is the pattern of the patient in a file name, without
            its extension. Without a rule for patients, that of a DICOM file comes from its header,
            and every other image counts as a separate patient, who is not known.
        pseudonyms: Pseudonyms of patients; None for those of this user's key.
        note: Called with each sentence about what was understood.
        controls: Folder with a folder for each kind of controls, of the same source as the set;
            None without controls.

    Returns:
        Samples, controls last; and the files left out by reason: ``not_an_image``, ``no_class``,
        ``no_split``, ``unknown_split``, ``no_patient``, ``burned_in_text``, ``unsafe_name`` (a
        member's name that leads out of its archive).

    Raises:
        DataError: Fewer than two class folders have images, a class loses all of its images, it is
            unclear what a folder is, or a rule is not valid.
        DependencyError: A file is DICOM, and the extra 'dicom' is not installed.
    """
    if not directory.is_dir():
        raise DataError(f"{directory} is not a folder.", "Give a folder with one folder per class.")
    if controls is not None:
        _check_apart(controls, directory)
    if not isinstance(rules, FolderRules):
        rules = FolderRules.of_pattern(rules)
    layout = find_layout(directory, rules.split_folders)
    for sentence in layout.notes:
        note(sentence)
    left_out = LeftOut()
    for source, reason in layout.outside:
        left_out.leave(source, reason)
    found: list[Found] = []
    for folder in layout.folders:
        found += _find_images(folder, directory, rules.keep_burned_in, left_out)
    for kind in find_kinds(controls) if controls else ():
        found += _find_images(kind, controls or kind.path, rules.keep_burned_in, left_out)
    patients = name_patients(found, rules.patients, pseudonyms or Pseudonyms(), note)
    nameless = [image for image, patient in zip(found, patients, strict=True) if not patient]
    for image in nameless:
        left_out.leave(image.path, "no_patient")
    samples = [
        Sample(
            i.path,
            i.label,
            p.name,
            directory.name,
            i.view,
            patient_known=p.known,
            finding=i.finding,
        )
        for i, p in zip(found, patients, strict=True)
        if p
    ]
    _check_patients(samples, nameless, rules.patients)
    _check_burned_in(samples, layout.folders, left_out)
    if controls is not None and all(sample.label for sample in samples):
        raise DataError(
            f"{controls} has no images that can be used as controls.",
            "Put them into a folder for each kind: DIR/lateral/, DIR/other-finding/.",
        )
    _check_classes(directory, found)
    return samples, left_out


def keep_splits(
    entries: Sequence[Entry], directory: Path, given: SplitFolders | None = None
) -> list[Entry]:
    """Return the entries with the splits of their folders (``train/CLASS/image.png``)."""
    layout = find_layout(directory, given)
    return [replace(entry, split=layout.split_of(entry.path)) for entry in entries]


def check_classes_kept(samples: Sequence[Sample], usable: Sequence[Sample], why: LeftOut) -> None:
    """Raise DataError if no image of a class is usable.

    Args:
        samples: All images.
        usable: Those that can be used.
        why: The other ones, with the reason.
    """
    kept = {sample.label for sample in usable}
    reason_of = {source: reason for source, reason in why.files}
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        if sample.label not in kept:
            reasons[sample.label][reason_of.get(sample.path, "left_out")] += 1
    for label, counts in reasons.items():
        listed = ", ".join(f"{number} {reason}" for reason, number in counts.items())
        example = next(sample.path for sample in samples if sample.label == label)
        raise DataError(
            f"No {_group(label)} can be used: {listed}.",
            f"See why: cxredge inspect {quoted(example)}",
        )


def _group(label: str) -> str:
    return f"image of class '{label}'" if label else "control"


def _check_apart(controls: Path, directory: Path) -> None:
    """Raise DataError if the controls are no folder, or lie in the set or around it."""
    if not controls.is_dir():
        raise DataError(
            f"--controls {controls} is not a folder.", "Give a folder with one folder per kind."
        )
    inner, outer = controls.resolve(), directory.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise DataError(
            f"The controls {controls} and the set {directory} lie in each other.",
            "Move the controls beside the set: they would be a class of it.",
        )


def _find_images(
    folder: ClassFolder, root: Path, keep_burned_in: bool, left_out: LeftOut
) -> list[Found]:
    """Return the images of a class folder, and leave out those that cannot be used at all."""
    skipped, found = Skipped(), []
    for source in walk_images([folder.path], skipped):
        exposure = _exposure(source)
        path = path_through(source) if isinstance(source, ZipMember) else source
        if path is None:
            left_out.leave(source, "unsafe_name")
        elif exposure and exposure.burned_in_text and not keep_burned_in:
            left_out.leave(source, "burned_in_text")
        else:
            patient_id = exposure.patient_id if exposure else None
            view = exposure.view if exposure else ""
            found.append(
                Found(path, folder.path, folder.label, patient_id, view, root, folder.finding)
            )
    for source in skipped.files:
        left_out.leave(source, "not_an_image")
    return found


def _check_classes(directory: Path, listed: Sequence[Found]) -> None:
    found = [image for image in listed if image.label]
    labels = {image.label for image in found}
    check_class_names(labels, directory)
    if len(labels) < 2:
        hint = "Put the images of each class into a folder named after it: DIR/normal/, DIR/viral/."
        if inner := inner_set(directory):
            hint = (
                f"The set may be the folder inside: cxredge data folder {quoted(inner)} --out OUT"
            )
        raise DataError(
            f"{directory} has {len(found)} usable images in fewer than two class folders.", hint
        )


def _check_patients(
    samples: Sequence[Sample], nameless: Sequence[Found], rule: PatientRule
) -> None:
    """Raise DataError if a class has no image whose patient is known."""
    kept = {sample.label for sample in samples}
    lost = next((image.label for image in nameless if image.label not in kept), None)
    if lost is not None:
        of_class = [image for image in nameless if image.label == lost]
        raise DataError(f"No {_group(lost)} can be used: {why_no_patient(of_class, rule)}", WAYS)


def _check_burned_in(
    samples: Sequence[Sample], folders: Sequence[ClassFolder], left_out: LeftOut
) -> None:
    """Raise DataError if all images of a class have burned-in text."""
    kept = {sample.label for sample in samples}
    burned = [str(source) for source, reason in left_out.files if reason == "burned_in_text"]
    for folder in folders:
        if folder.label not in kept and any(p.startswith(f"{folder.path}/") for p in burned):
            raise DataError(
                f"No image of class '{folder.label}' can be used: the headers report text in the "
                "pixels, which may name the patient.",
                "If it does not: --keep-burned-in",
            )


def _exposure(source: ImageSource) -> Exposure | None:
    """Return the patient and view of a DICOM file; None for other or damaged files."""
    if not is_dicom_source(source):
        return None
    try:
        from cxredge.data.dicom.exposure import read_exposure
    except ModuleNotFoundError:
        raise DependencyError(
            f"{source} is DICOM; reading it, and the patient in it, requires the extra 'dicom'.",
            "pip install 'cxredge[dicom]'",
        ) from None

    try:
        return read_exposure(source)
    except ImageError:  # check_samples leaves it out and counts the reason
        return None
