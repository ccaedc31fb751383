"""The manifest: one row per X-ray, with its class, split, patient and hash.

Rows of the split ``control`` have no class: they show none of them, and ``finding`` names their
kind.
"""

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
from cxredge.vocabulary import CLASS_SPLITS, Split

COLUMNS = ("path", "label", "split", "patient", "source", "view", "sha256")
OPTIONAL_COLUMNS = ("finding", "sex", "age")
"""Columns that are written if a row has a value."""
CLASS_SEPARATORS = "|;"
"""Separators of classes in the columns ``set`` and ``above_threshold`` of predictions in CSV."""


@dataclass(frozen=True)
class Sample:
    """One X-ray as a reader found it, before it is checked and assigned to a split.

    Attributes:
        path: The image file.
        label: Its class; empty for a control.
        patient: Its patient, unique across sources; all images of one patient share it.
        source: The collection that it belongs to.
        view: ``PA``, ``AP``, ``AP Supine``, or empty if the source does not state it.
        patient_known: Whether ``patient`` is known; if not, the image counts as a patient of its
            own.
        finding: Of a control, its kind, such as ``lateral``; of other images, what the source
            states.
        sex: ``M``, ``F``, another word of the source, or empty.
        age: Age in years as the source states it, or empty.
    """

    path: Path
    label: str
    patient: str
    source: str
    view: str = ""
    patient_known: bool = field(default=True, kw_only=True)
    finding: str = field(default="", kw_only=True)
    sex: str = field(default="", kw_only=True)
    age: str = field(default="", kw_only=True)


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
    def labelled(self) -> tuple[Entry, ...]:
        """The entries that have a class: all but the controls."""
        return tuple(entry for entry in self.entries if entry.split is not Split.CONTROL)

    @property
    def controls(self) -> tuple[Entry, ...]:
        """The X-rays that show none of the classes; there may be none."""
        return tuple(entry for entry in self.entries if entry.split is Split.CONTROL)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, sorted."""
        return tuple(sorted({entry.label for entry in self.labelled}))

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
        """Return the number of images by split and class, without controls."""
        counts: dict[str, dict[str, int]] = {split.value: {} for split in CLASS_SPLITS}
        for (split, label), number in sorted(
            Counter((entry.split.value, entry.label) for entry in self.labelled).items()
        ):
            counts[split][label] = number
        return {split: by_class for split, by_class in counts.items() if by_class}

    def source_counts(self) -> dict[str, dict[str, int]]:
        """Return the number of images by class and source, without controls."""
        counts: dict[str, dict[str, int]] = {label: {} for label in self.classes}
        found = Counter((entry.label, entry.source or "not stated") for entry in self.labelled)
        for (label, source), number in sorted(found.items()):
            counts[label][source] = number
        return counts

    def control_counts(self) -> dict[str, int]:
        """Return the number of controls by kind."""
        return dict(sorted(Counter(entry.finding for entry in self.controls).items()))

    def patients(self) -> dict[str, int]:
        """Return the number of patients by split, without controls."""
        found: dict[Split, set[str]] = defaultdict(set)
        for entry in self.labelled:
            found[entry.split].add(entry.patient)
        return {split.value: len(found[split]) for split in CLASS_SPLITS if split in found}

    def without_patient(self) -> dict[str, int]:
        """Return the number of images whose patient is not known, by split, without controls."""
        found = Counter(entry.split for entry in self.labelled if not entry.patient_known)
        return {split.value: found[split] for split in CLASS_SPLITS if found[split]}

    def patients_in_two_splits(self) -> int:
        """Return the number of patients with images in more than one split.

        Neither test images nor controls are seen in training, so that these two do not count.
        """
        splits = defaultdict(set)
        for entry in self.entries:
            splits[entry.patient].add(entry.split)
        return sum(
            len(found) > 1 and found != {Split.TEST, Split.CONTROL} for found in splits.values()
        )


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
    manifest = Manifest(path, entries, table.sha256)
    _check_controls(manifest, [line for line, _ in table.rows])
    return manifest


def write_manifest(path: Path, entries: Iterable[Entry]) -> Manifest:
    """Write entries to ``path``; paths of images below its folder are stored relative to it."""
    listed = list(entries)
    more = [name for name in OPTIONAL_COLUMNS if any(getattr(entry, name) for entry in listed)]
    lines = [csv_line((*COLUMNS, *more))]
    for entry in listed:
        shown = path_beside(entry.path, path.parent)
        values = (shown, entry.label, entry.split.value, _patient_cell(entry, shown))
        optional = [getattr(entry, name) for name in more]
        lines.append(csv_line((*values, entry.source, entry.view, entry.sha256, *optional)))
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


def check_class_names(classes: Iterable[str], named_by: Path) -> None:
    """Check that lists of classes in a predictions file can be read back.

    Models of earlier versions may have other names, and stay readable.

    Args:
        classes: Names of the classes.
        named_by: The manifest or folder that names them.

    Raises:
        DataError: A name has a character that separates classes in CSV.
    """
    for name in sorted(classes):
        if found := set(name).intersection(CLASS_SEPARATORS):
            raise DataError(
                f"{named_by} has the class '{name}', but '{min(found)}' separates classes in "
                "predictions.",
                f"Rename the class, such as '{_without_separators(name)}'.",
            )


def _without_separators(name: str) -> str:
    return "".join("-" if c in CLASS_SEPARATORS else c for c in name)


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
            f"{manifest}, line {line}: split '{values['split']}' is not train, val, test or "
            "control."
        ) from None
    is_control = split is Split.CONTROL
    finding = values.get("finding", "") or (values["label"] if is_control else "")
    if not values["path"] or not (finding if is_control else values["label"]):
        needed = "path and finding of a control" if is_control else "path and label"
        raise DataError(f"{manifest}, line {line}: {needed} must not be empty.")
    path = Path(values["path"])
    return Entry(
        path=path if path.is_absolute() else manifest.parent / path,
        label="" if is_control else values["label"],
        patient=values["patient"] or values["path"],
        source=values["source"],
        view=values["view"],
        split=split,
        sha256=values["sha256"],
        patient_known=bool(values["patient"]) and not _is_path(values["patient"], values["path"]),
        finding=finding,
        sex=values.get("sex", ""),
        age=values.get("age", ""),
    )


def _check_controls(manifest: Manifest, lines: Sequence[int]) -> None:
    """Raise DataError if all rows are controls, or the kind of a control is the name of a class."""
    classes = set(manifest.classes)
    if not classes:
        raise DataError(
            f"{manifest.path} lists controls only.",
            "Add the images of the classes: a network is measured on both.",
        )
    for line, entry in zip(lines, manifest.entries, strict=True):
        if entry.split is Split.CONTROL and entry.finding in classes:
            raise DataError(
                f"{manifest.path}, line {line}: '{entry.finding}' is a class and cannot be the "
                "kind of a control.",
                "A control shows none of the classes: leave its label empty, and name its kind in "
                "the column 'finding'. Otherwise give it the split train, val or test.",
            )
