"""The manifest: one row per X-ray, with its class, split, patient and hash."""

from __future__ import annotations

import contextlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cxredge.artifacts.atomic import atomic_file
from cxredge.artifacts.csv_text import csv_line
from cxredge.artifacts.disk_space import writing
from cxredge.data.csv_table import read_csv
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

    Relative image paths are resolved against the manifest's folder. The file may have gone through
    a spreadsheet: see :func:`~cxredge.data.csv_table.read_csv`.

    Raises:
        DataError: The file is missing, lacks a column, has no rows, or names an unknown split.
    """
    if not path.is_file():
        problem = "is a folder; a manifest is a file" if path.is_dir() else "does not exist"
        inside = path / "manifest.csv"
        remedy = "Make one: cxredge data folder DIR --out D, then give D/manifest.csv."
        raise DataError(f"{path} {problem}.", f"Give {inside}" if inside.is_file() else remedy)
    table = read_csv(path, COLUMNS, "path")
    table.require(COLUMNS, f"; a manifest has {','.join(COLUMNS)}")
    entries = tuple(_entry(path, line, row) for line, row in table.rows)
    if not entries:
        raise DataError(f"{path} lists no images.")
    return Manifest(path, entries, table.sha256)


def write_manifest(path: Path, entries: Iterable[Entry]) -> Manifest:
    """Write entries to ``path``; paths of images below its folder are stored relative to it."""
    lines = [csv_line(COLUMNS)]
    for entry in entries:
        shown = path_beside(entry.path, path.parent)
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
        hint = "Use the manifest it was trained on, or train a model on this one."
        same = {name.strip().casefold(): name for name in classes}
        renamed = [f"'{n}' to '{same[c]}'" for n in unknown if (c := n.strip().casefold()) in same]
        if renamed:
            hint = f"Only the case differs: rename {', '.join(renamed)} in the manifest."
        raise DataError(
            f"{manifest.path} has labels that this model does not have: {', '.join(unknown)}; "
            f"it has {', '.join(classes)}.",
            hint,
        )


def path_beside(image: Path, folder: Path) -> str:
    """Return a path as a list in ``folder`` states it: relative if it lies beneath, else absolute.

    A link beneath the folder stays a link, so that the folder can move with what it holds.
    """
    shown = absolute_path(image)
    if shown.is_relative_to(beside := absolute_path(folder)):
        return shown.relative_to(beside).as_posix()
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # names that no file can have
        shown, beside = image.resolve(), folder.resolve()
        if shown.is_relative_to(beside):
            return shown.relative_to(beside).as_posix()
    return shown.as_posix()


def absolute_path(path: Path) -> Path:
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


def _entry(manifest: Path, line: int, values: Mapping[str, str]) -> Entry:
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
