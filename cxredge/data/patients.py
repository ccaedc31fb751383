"""Patients of a data set's images: from file names, folders, a table or DICOM headers."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxredge.data.csv_table import read_csv
from cxredge.data.manifest import absolute_path
from cxredge.data.pseudonyms import Pseudonyms
from cxredge.errors import DataError
from cxredge.vocabulary import PatientFrom

WAYS = (
    "Name the patients: --patient REGEX for file names, --patient-from folder for a folder per "
    "patient, or --patient-from csv:FILE with the columns path and patient. If nothing is known, "
    "--patient-from image counts every image as a patient of its own."
)
_PLACEHOLDERS = re.compile(
    r"[\s0\-_.*x?]*|anon(ymous|ymized|ymised|ym)?[\s_^-]*(patient|id)?|unknown|none|null|n/?a|"
    r"no[\s_-]?(id|name)|removed|deleted|de-?identified|patient[\s_-]?id|test",
    re.IGNORECASE,
)
_LEADING_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
_LAST_NUMBER = "^(.+)[-_ ][^-_ ]+$"
_PATH_COLUMNS = ("path", "file", "filename", "image")
_PATIENT_COLUMNS = ("patient", "patientid", "patient_id")


@dataclass(frozen=True)
class PatientRule:
    """Where the names of patients come from.

    Attributes:
        source: The source.
        pattern: Regular expression for file names, whose first group is the patient; after a folder
            or a table, for the images that they do not name.
        table: Table of paths and patients.
    """

    source: PatientFrom = PatientFrom.HEADER
    pattern: str | None = None
    table: Path | None = None

    def __str__(self) -> str:
        pattern = f"--patient '{self.pattern}'"
        if self.pattern is not None and self.source is PatientFrom.NAME:
            return pattern
        table = f":{self.table}" if self.table else ""
        shown = f"--patient-from {self.source.value}{table}"
        return shown if self.pattern is None else f"{shown} with {pattern}"


@dataclass(frozen=True)
class Found:
    """One image of a data set.

    Attributes:
        path: The image.
        folder: The folder of its class.
        label: Its class.
        patient_id: The patient's number in the header of a DICOM file; None for other files.
        view: The view in the header.
        root: The data set, or the folder of its controls.
        finding: Kind of a control, which has no class.
    """

    path: Path
    folder: Path
    label: str
    patient_id: str | None
    view: str
    root: Path
    finding: str = ""


@dataclass(frozen=True)
class NamedPatient:
    """The patient of an image; of an unknown one, the image's path."""

    name: str
    known: bool


def name_patients(
    images: Sequence[Found],
    rule: PatientRule,
    pseudonyms: Pseudonyms,
    note: Callable[[str], None],
) -> list[NamedPatient | None]:
    """Return the patient of each image; None if the rule finds none and the header names none.

    Numbers from headers and tables are replaced by pseudonyms. If a rule names some images and
    headers name others, all are, so that one number is one patient.

    Args:
        images: The images.
        rule: Where the names come from.
        pseudonyms: Pseudonyms of patients.
        note: Called with a sentence about what was found.

    Raises:
        DataError: The pattern or the table is not valid.
    """
    name_of = _reader(rule)
    one_spelling = _Spellings()
    named = [one_spelling.of(name_of(image)) for image in images]
    placeholders = _placeholders(images)
    ids = [
        one_spelling.of(image.patient_id) if image.patient_id not in placeholders else None
        for image in images
    ]
    if rule.source is PatientFrom.IMAGE:
        ids = [None] * len(images)
    by_header = any(one and not name for one, name in zip(ids, named, strict=True))
    hashed = by_header or rule.source is PatientFrom.CSV
    if rule.source not in (PatientFrom.HEADER, PatientFrom.IMAGE):
        note(_matches(rule, images, named, ids))
    found: list[NamedPatient | None] = []
    for image, name, number in zip(images, named, ids, strict=True):
        if name:
            found.append(NamedPatient(pseudonyms.of(name) if hashed else name, True))
        elif number:
            found.append(NamedPatient(pseudonyms.of(number), True))
        elif rule.source is PatientFrom.IMAGE or (
            rule.source is PatientFrom.HEADER and image.patient_id is None
        ):
            found.append(NamedPatient(_path_in_set(image), False))
        else:
            found.append(None)
    return found


def _path_in_set(image: Found) -> str:
    """Return an image's path; that of a control begins with the name of its folder."""
    inside = image.path.relative_to(image.root).as_posix()
    return f"{image.root.name}/{inside}" if image.finding else inside


def why_no_patient(images: Iterable[Found], rule: PatientRule) -> str:
    """Return why images have no patient, as a sentence."""
    listed = list(images)
    ids = Counter(image.patient_id for image in listed)
    if rule.source is not PatientFrom.HEADER:
        shown = listed[0].path.stem if rule.source is PatientFrom.NAME else str(listed[0].path)
        return f"{rule} finds no patient in any of {len(listed)} images, for example '{shown}'."
    if not any(ids):
        return f"The PatientID is empty in {len(listed)} DICOM files: they are de-identified."
    return (
        f"The PatientID is the same, or a placeholder, in {len(listed)} DICOM files: they are "
        "de-identified."
    )


class _Spellings:
    """The first of the spellings of a name that differ in case, spaces or leading zeros.

    They may be one patient, and two patients who are taken for one do not leak between splits.
    """

    def __init__(self) -> None:
        self._first: dict[str, str] = {}

    def of(self, name: str | None) -> str | None:
        """Return the first spelling; None if there is no name."""
        if not name:
            return None
        plain = unicodedata.normalize("NFKC", "".join(name.split())).casefold()
        return self._first.setdefault(_LEADING_ZEROS.sub("", plain), name)


def _reader(rule: PatientRule) -> Callable[[Found], str | None]:
    """Return a function that finds the patient of an image by a rule."""
    readers: list[Callable[[Found], str | None]] = []
    if rule.source is PatientFrom.FOLDER:
        readers.append(_folder_name)
    if rule.source is PatientFrom.CSV:
        readers.append(_table_reader(rule.table or Path()))
    if rule.pattern is not None or rule.source is PatientFrom.NAME:
        readers.append(_name_reader(_compile(rule.pattern or _LAST_NUMBER)))

    def find(image: Found) -> str | None:
        return next((name for reader in readers if (name := reader(image))), None)

    return find


def _name_reader(pattern: re.Pattern[str]) -> Callable[[Found], str | None]:
    def from_name(image: Found) -> str | None:
        match = pattern.search(image.path.stem)
        # Each alternative of 'A|B' may have a group of its own.
        return next((group for group in match.groups() if group), None) if match else None

    return from_name


def _folder_name(image: Found) -> str | None:
    """Return the name of the first folder below the class folder."""
    parts = image.path.relative_to(image.folder).parts
    return parts[0] if len(parts) > 1 else None


def _table_reader(path: Path) -> Callable[[Found], str | None]:
    """Return a function that looks an image up by its path in the set, or by its file name."""
    if not path.is_file():
        raise DataError(f"--patient-from csv:{path}: there is no such file.", "Check the path.")
    table = read_csv(path, (*_PATH_COLUMNS, *_PATIENT_COLUMNS))
    plain = {name.strip().casefold(): name for name in reversed(table.columns)}
    of_path = next((plain[name] for name in _PATH_COLUMNS if name in plain), None)
    of_patient = next((plain[name] for name in _PATIENT_COLUMNS if name in plain), None)
    if of_path is None or of_patient is None:
        table.require(("path", "patient"), "; it names the patient of each image")
        raise DataError(f"{path} has no column for the path or the patient.")
    by_path: dict[str, str] = {}
    for line, row in table.rows:
        image, patient = row[of_path].strip(), row[of_patient].strip()
        if image and patient:
            if by_path.get(image.removeprefix("./"), patient) != patient:
                raise DataError(
                    f"{path}, line {line}: '{image}' has another patient than on an earlier line.",
                    "Give each image one patient; images of the same name need their folder.",
                )
            by_path[image.removeprefix("./")] = patient
            by_path[str(absolute_path(path.parent / image))] = patient

    def from_table(found: Found) -> str | None:
        inside = found.path.relative_to(found.root).as_posix()
        keys = (inside, str(absolute_path(found.path)), found.path.name)
        return next((by_path[key] for key in keys if key in by_path), None)

    return from_table


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DataError(f"--patient '{pattern}' is not a regular expression: {error}.") from None
    if not compiled.groups:
        raise DataError(
            f"--patient '{pattern}' has no group.", "Put the patient in brackets: '^(.+)-[0-9]+$'."
        )
    return compiled


def _placeholders(images: Sequence[Found]) -> set[str]:
    """Return the patients' numbers in headers that stand for no patient.

    Words such as ANONYMOUS, and a number that all DICOM files of several classes share.
    """
    labels = defaultdict(set)
    for image in images:
        if image.patient_id:
            labels[image.patient_id].add(image.label)
    words = {one for one in labels if _PLACEHOLDERS.fullmatch(one.strip())}
    in_dicom = sum(image.patient_id is not None for image in images)
    if len(labels) == 1 and in_dicom > 2 and len(next(iter(labels.values()))) > 1:
        words |= set(labels)
    return words


def _matches(
    rule: PatientRule,
    images: Sequence[Found],
    named: Sequence[str | None],
    ids: Sequence[str | None],
) -> str:
    """Return how many images a rule names, with an example."""
    pairs = [(image, name) for image, name in zip(images, named, strict=True) if name]
    text = f"{rule} names the patient of {len(pairs)} of {len(images)} images"
    if pairs:
        image, name = pairs[0]
        text += f"; for example, '{image.path.name}' is of patient '{name}'"
    by_header = sum(bool(one and not name) for one, name in zip(ids, named, strict=True))
    if by_header:
        text += f". The header names that of {by_header} more"
    return f"{text}."
