"""The manifest: one row per X-ray, with its class, split, patient and hash."""

from __future__ import annotations

import csv
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cxredge.artifacts.atomic import atomic_file
from cxredge.artifacts.csv_text import csv_line
from cxredge.artifacts.disk_space import writing
from cxredge.artifacts.hashing import sha256_of_file
from cxredge.errors import DataError
from cxredge.vocabulary import Split

COLUMNS = ("path", "label", "split", "patient", "source", "view", "sha256")


@dataclass(frozen=True)
class Sample:
    """One X-ray as a reader found it, before it is checked and assigned to a split.

    Attributes:
        path: The image file.
        label: Its class.
        patient: Its patient, unique across sources; all images of one patient share it.
        source: The collection that it belongs to.
        view: ``PA``, ``AP``, ``AP Supine``, or empty if the source does not state it.
        patient_known: Whether ``patient`` is known; if not, the image counts as a patient of its
            own.
    """

    path: Path
    label: str
    patient: str
    source: str
    view: str = ""
    patient_known: bool = field(default=True, kw_only=True)


@dataclass(frozen=True)
class Entry(Sample):
    """One row of a manifest: a sample with its split and the SHA-256 of its file."""

    split: Split = Split.TRAIN
    sha256: str = ""


@dataclass(frozen=True)
class Manifest:
    """The entries of a manifest file.

    Attributes:
        path: The file.
        entries: Its rows, in order.
        sha256: SHA-256 of the file.
    """

    path: Path
    entries: tuple[Entry, ...]
    sha256: str

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, sorted."""
        return tuple(sorted({entry.label for entry in self.entries}))

    def of(self, split: Split) -> tuple[Entry, ...]:
        """Return the entries of one split.

        Raises:
            DataError: The split is empty.
        """
        chosen = tuple(entry for entry in self.entries if entry.split is split)
        if not chosen:
            present = ", ".join(sorted({entry.split.value for entry in self.entries}))
            raise DataError(f"{self.path} has no '{split.value}' images; it has: {present}.")
        return chosen

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of images by split and class."""
        counts: dict[str, dict[str, int]] = {split.value: {} for split in Split}
        for (split, label), number in sorted(
            Counter((entry.split.value, entry.label) for entry in self.entries).items()
        ):
            counts[split][label] = number
        return {split: by_class for split, by_class in counts.items() if by_class}

    def patients(self) -> dict[str, int]:
        """Return the number of patients by split."""
        found: dict[str, set[str]] = defaultdict(set)
        for entry in self.entries:
            found[entry.split.value].add(entry.patient)
        return {split.value: len(found[split.value]) for split in Split if split.value in found}

    def without_patient(self) -> dict[str, int]:
        """Return the number of images whose patient is not known, by split."""
        found = Counter(entry.split.value for entry in self.entries if not entry.patient_known)
        return {split.value: found[split.value] for split in Split if found[split.value]}

    def patients_in_two_splits(self) -> int:
        """Return the number of patients with images in more than one split."""
        splits = defaultdict(set)
        for entry in self.entries:
            splits[entry.patient].add(entry.split)
        return sum(len(of_patient) > 1 for of_patient in splits.values())


def read_manifest(path: Path) -> Manifest:
    """Read a manifest or a calibration list.

    Relative image paths are resolved against the manifest's folder.

    Raises:
        DataError: The file is missing, lacks a column, has no rows, or names an unknown split.
    """
    if not path.is_file():
        problem = "is a folder; a manifest is a file" if path.is_dir() else "does not exist"
        raise DataError(
            f"{path} {problem}.",
            "Make one: cxredge data folder DIR --out D, then give D/manifest.csv.",
        )
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        reader = csv.DictReader(stream)
        try:
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path} lacks the column(s) {', '.join(missing)}; a manifest has "
                    f"{','.join(COLUMNS)}."
                )
            entries = tuple(_entry(path, reader.line_num, row) for row in reader)
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: {error}.") from None
    if not entries:
        raise DataError(f"{path} lists no images.")
    return Manifest(path, entries, sha256_of_file(path))


def write_manifest(path: Path, entries: Iterable[Entry]) -> Manifest:
    """Write entries to ``path``; paths of images below its folder are stored relative to it."""
    folder = _absolute(path.parent)
    lines = [csv_line(COLUMNS)]
    for entry in entries:
        shown = _shown_path(entry.path, folder)
        values = (shown, entry.label, entry.split.value, _patient_cell(entry, shown))
        lines.append(csv_line((*values, entry.source, entry.view, entry.sha256)))
    content = "".join(lines).encode("utf-8", "surrogateescape")
    with writing(path.parent, len(content), path.name), atomic_file(path) as temporary:
        temporary.write_bytes(content)
    return read_manifest(path)


def check_labels(manifest: Manifest, classes: Sequence[str]) -> None:
    """Raise DataError if the manifest has a label that is not among the model's classes."""
    unknown = sorted(set(manifest.classes) - set(classes))
    if unknown:
        raise DataError(
            f"{manifest.path} has labels that this model does not have: {', '.join(unknown)}; "
            f"it has {', '.join(classes)}.",
            "Use the manifest it was trained on, or train a model on this one.",
        )


def _shown_path(image: Path, folder: Path) -> str:
    """Return a path relative to the manifest's folder if it lies beneath it, else absolute."""
    # A link beneath the folder stays a link, so that the folder can move with what it holds.
    for path, base in ((_absolute(image), folder), (image.resolve(), folder.resolve())):
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    return image.resolve().as_posix()


def _absolute(path: Path) -> Path:
    """Return an absolute path without ``..``, whose links are not followed."""
    return Path(os.path.normpath(Path.cwd() / path))


def _patient_cell(entry: Entry, shown: str) -> str:
    """Return the patient; an unknown one is the end of the image's path, with a slash."""
    if entry.patient_known or _is_path(entry.patient, shown):
        return entry.patient
    return shown if "/" in shown else f"./{shown}"


def _is_path(patient: str, path: str) -> bool:
    """Return whether a patient is the end of the image's path: nothing else is known of it."""
    return "/" in patient and f"/{path}".endswith(f"/{patient.removeprefix('./')}")


def _entry(manifest: Path, line: int, row: dict[str, str | None]) -> Entry:
    values = {name: row.get(name) or "" for name in COLUMNS}
    try:
        split = Split(values["split"])
    except ValueError:
        raise DataError(
            f"{manifest}, line {line}: split '{values['split']}' is not train, val or test."
        ) from None
    if not values["path"] or not values["label"]:
        raise DataError(f"{manifest}, line {line}: path and label must not be empty.")
    path = Path(values["path"])
    return Entry(
        path=path if path.is_absolute() else manifest.parent / path,
        label=values["label"],
        patient=values["patient"] or values["path"],
        source=values["source"],
        view=values["view"],
        split=split,
        sha256=values["sha256"],
        patient_known=bool(values["patient"]) and not _is_path(values["patient"], values["path"]),
    )
