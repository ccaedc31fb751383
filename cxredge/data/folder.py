"""Reader for any data set with one folder per class."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cxredge.data.inputs import walk_images
from cxredge.data.manifest import Entry, Sample
from cxredge.data.pseudonyms import Pseudonyms
from cxredge.data.sources import ImageSource, is_dicom_source
from cxredge.data.zip_members import ZipMember, path_through
from cxredge.errors import DataError, ImageError
from cxredge.vocabulary import Split

if TYPE_CHECKING:
    from cxredge.data.dicom.exposure import Exposure

_SPLIT_FOLDERS = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "val": Split.VAL,
    "valid": Split.VAL,
    "validation": Split.VAL,
    "test": Split.TEST,
}


def has_split_folders(directory: Path) -> bool:
    """Return whether the set is already split: ``train/CLASS``, ``test/CLASS`` and so on."""
    return (directory / "train").is_dir() and (directory / "test").is_dir()


def read_folder(
    directory: Path,
    patient_pattern: str | None,
    pseudonyms: Pseudonyms | None = None,
    keep_burned_in: bool = False,
) -> tuple[list[Sample], Counter[str]]:
    """Return the images of ``directory/CLASS/`` (or ``directory/SPLIT/CLASS/``).

    Subfolders and zip archives are included.

    Args:
        directory: One folder per class, or one per split with one per class in each.
        patient_pattern: Regular expression whose first group, searched in the file name without
            its extension, names the patient. If None, the patient of a DICOM file comes from its
            header, and every other image counts as a separate patient.
        pseudonyms: Pseudonyms for the patients of DICOM files; None for those of this user's key.
        keep_burned_in: Keep DICOM files whose header reports burned-in text, which may name the
            patient.

    Returns:
        Samples; and the number of files left out by reason: ``not_an_image``, ``no_patient``,
        ``burned_in_text``, ``unsafe_name`` (a member's name that leads out of its archive).

    Raises:
        DataError: Fewer than two class folders have images, or the pattern is not a regular
            expression with a group.
    """
    if not directory.is_dir():
        raise DataError(f"{directory} is not a folder.", "Give a folder with one folder per class.")
    pattern = _compile(patient_pattern)
    pseudonyms = pseudonyms or Pseudonyms()
    samples: list[Sample] = []
    dropped: Counter[str] = Counter()
    for folder in _class_folders(directory):
        skipped: Counter[str] = Counter()
        for source in walk_images([folder], skipped):
            path = path_through(source) if isinstance(source, ZipMember) else source
            exposure = _exposure(source)
            if path is None:
                dropped["unsafe_name"] += 1
            elif exposure and exposure.burned_in_text and not keep_burned_in:
                dropped["burned_in_text"] += 1
            elif patient := _patient(path, directory, pattern, exposure, pseudonyms):
                view = exposure.view if exposure else ""
                samples.append(Sample(path, folder.name, patient, directory.name, view))
            else:
                dropped["no_patient"] += 1
        dropped["not_an_image"] += skipped.total()
    if len({sample.label for sample in samples}) < 2:
        raise DataError(
            f"{directory} has {len(samples)} usable images in fewer than two class folders.",
            "Put the images of each class into a folder named after it: DIR/normal/, DIR/viral/.",
        )
    return samples, +dropped


def keep_splits(entries: list[Entry], directory: Path) -> list[Entry]:
    """Return the entries with the splits of their folders (``train/CLASS/image.png``)."""
    return [
        replace(entry, split=_SPLIT_FOLDERS[entry.path.relative_to(directory).parts[0]])
        for entry in entries
    ]


def _class_folders(directory: Path) -> list[Path]:
    roots = [directory]
    if has_split_folders(directory):
        roots = [path for path in sorted(directory.iterdir()) if path.name in _SPLIT_FOLDERS]
    return [
        folder
        for root in roots
        for folder in sorted(path for path in root.iterdir() if path.is_dir())
        if not folder.name.startswith(".")
    ]


def _compile(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DataError(f"--patient '{pattern}' is not a regular expression: {error}.") from None
    if not compiled.groups:
        raise DataError(
            f"--patient '{pattern}' has no group.", "Put the patient in brackets: '^(.+)-[0-9]+$'."
        )
    return compiled


def _exposure(source: ImageSource) -> Exposure | None:
    """Return the patient and view of a DICOM file; None for other or damaged files."""
    if not is_dicom_source(source):
        return None
    from cxredge.data.dicom.exposure import read_exposure

    try:
        return read_exposure(source)
    except ImageError:  # check_samples leaves it out and counts the reason
        return None


def _patient(
    path: Path,
    directory: Path,
    pattern: re.Pattern[str] | None,
    exposure: Exposure | None,
    pseudonyms: Pseudonyms,
) -> str | None:
    if pattern is not None:
        match = pattern.search(path.stem)
        return match[1] if match else None
    if exposure is not None:
        return pseudonyms.of(exposure.patient_id) if exposure.patient_id else None
    return path.relative_to(directory).as_posix()
