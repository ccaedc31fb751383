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
    from cxredge.data.dicom.patient import Exposure

_SPLIT_FOLDERS = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "val": Split.VAL,
    "valid": Split.VAL,
    "validation": Split.VAL,
    "test": Split.TEST,
}


def has_split_folders(directory: Path) -> bool:
    """Tell whether the set is already split: ``train/CLASS``, ``test/CLASS`` and so on."""
    return (directory / "train").is_dir() and (directory / "test").is_dir()


def read_folder(
    directory: Path,
    patient_pattern: str | None,
    pseudonyms: Pseudonyms | None = None,
    keep_burned_in: bool = False,
) -> tuple[list[Sample], Counter[str]]:
    """Return the images of ``directory/CLASS/`` (or ``directory/SPLIT/CLASS/``).

    Folders and zip archives in them are walked too.

    Args:
        directory: One folder per class, or one per split with one per class in each.
        patient_pattern: Regular expression whose first group, searched in the file name without
            its extension, names the patient. Without one a DICOM file tells the patient, and
            every other image counts as its own patient.
        pseudonyms: Name the patients of DICOM files; None for the key of this user.
        keep_burned_in: Keep DICOM files whose header says that text is part of the picture: it
            may name a patient.

    Returns:
        Samples, and counts of what was left out: ``not_an_image``, ``no_patient``,
        ``burned_in_text``, ``unsafe_name`` (of an archive's member, which leads out of it).

    Raises:
        DataError: No class folder with images, or the pattern is not a regular expression with a
            group.
    """
    if not directory.is_dir():
        raise DataError(f"{directory} is not a folder.", "Give a folder with one folder per class.")
    pattern = _compile(patient_pattern)
    pseudonyms = pseudonyms or Pseudonyms()
    roots = [directory]
    if has_split_folders(directory):
        roots = [path for path in sorted(directory.iterdir()) if path.name in _SPLIT_FOLDERS]
    samples: list[Sample] = []
    dropped: Counter[str] = Counter()
    for root in roots:
        for folder in _class_folders(root):
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
            f"{directory} holds {len(samples)} usable images in fewer than two class folders.",
            "Put the images of each class into a folder named after it: DIR/normal/, DIR/viral/.",
        )
    return samples, +dropped


def _class_folders(root: Path) -> list[Path]:
    folders = (path for path in root.iterdir() if path.is_dir())
    return sorted(path for path in folders if not path.name.startswith("."))


def keep_splits(entries: list[Entry], directory: Path) -> list[Entry]:
    """Give each entry the split of the folder it lies in (``train/CLASS/image.png``)."""
    return [
        replace(entry, split=_SPLIT_FOLDERS[entry.path.relative_to(directory).parts[0]])
        for entry in entries
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
    """Read what a DICOM file tells of its patient; None for other files and damaged ones."""
    if not is_dicom_source(source):
        return None
    from cxredge.data.dicom.patient import read_exposure

    try:
        return read_exposure(source)
    except ImageError:  # left out with its reason when images are checked
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
