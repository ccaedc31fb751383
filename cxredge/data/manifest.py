"""The manifest: one row per X-ray, with its class, split, patient and hash."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxredge.artifacts.atomic import atomic_file
from cxredge.artifacts.card import sha256_of_file
from cxredge.artifacts.csv_text import csv_line
from cxredge.artifacts.disk_space import writing
from cxredge.data.images import GreyImage, load_grey
from cxredge.data.sources import sha256_of_source
from cxredge.errors import DataError, ImageError
from cxredge.vocabulary import Split

COLUMNS = ("path", "label", "split", "patient", "source", "view", "sha256")


@dataclass(frozen=True)
class Sample:
    """One X-ray as a reader found it, before it is checked and given a split.

    Attributes:
        path: The image file.
        label: Its class.
        patient: Whose it is, unique over sources; images of one patient share it.
        source: The collection it comes from.
        view: ``PA``, ``AP``, ``AP Supine``, or empty when the source does not say.
    """

    path: Path
    label: str
    patient: str
    source: str
    view: str = ""


@dataclass(frozen=True)
class Entry(Sample):
    """One row of a manifest: a sample with its split and the SHA-256 of its file."""

    split: Split = Split.TRAIN
    sha256: str = ""


@dataclass(frozen=True)
class Manifest:
    """A list of entries and where it was read from."""

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
            DataError: There are none.
        """
        chosen = tuple(entry for entry in self.entries if entry.split is split)
        if not chosen:
            held = ", ".join(sorted({entry.split.value for entry in self.entries}))
            raise DataError(f"{self.path} has no '{split.value}' images; it holds: {held}.")
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

    def patients_in_two_splits(self) -> int:
        """Return how many patients have images in more than one split."""
        splits = defaultdict(set)
        for entry in self.entries:
            splits[entry.patient].add(entry.split)
        return sum(len(of_patient) > 1 for of_patient in splits.values())


def read_manifest(path: Path) -> Manifest:
    """Read a manifest or a calibration list.

    Relative image paths are taken from the manifest's folder.

    Raises:
        DataError: The file is missing, has other columns, no rows, or an unknown split.
    """
    if not path.is_file():
        wrong = "is a folder; a manifest is a file" if path.is_dir() else "does not exist"
        raise DataError(
            f"{path} {wrong}.",
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
    """Write entries to ``path``; image paths below its folder are stored relative to it."""
    folder = path.parent.resolve()
    lines = [csv_line(COLUMNS)]
    for entry in entries:
        image = entry.path.resolve()
        shown = image.relative_to(folder) if image.is_relative_to(folder) else image
        values = (shown.as_posix(), entry.label, entry.split.value, entry.patient)
        lines.append(csv_line((*values, entry.source, entry.view, entry.sha256)))
    content = "".join(lines).encode("utf-8", "surrogateescape")
    with writing(path.parent, len(content), path.name), atomic_file(path) as temporary:
        temporary.write_bytes(content)
    return read_manifest(path)


def check_samples(
    samples: Sequence[Sample], on_image: Callable[[], None] = lambda: None
) -> tuple[list[Entry], Counter[str]]:
    """Decode and hash every sample, and leave out what cannot be used.

    Returns:
        The usable samples as entries (their split still to be set), and how many were dropped by
        reason. Of files with equal bytes the first is kept, so that no copy crosses a split.
    """

    def check(sample: Sample) -> Entry | str:
        try:
            load_grey(sample.path, 32)
            return Entry(**sample.__dict__, sha256=sha256_of_source(sample.path))
        except ImageError as error:
            return error.problem.value
        finally:
            on_image()

    kept: dict[str, Entry] = {}
    dropped: Counter[str] = Counter()
    with ThreadPoolExecutor() as pool:
        for outcome in pool.map(check, samples):
            if isinstance(outcome, str):
                dropped[outcome] += 1
            elif outcome.sha256 in kept:
                dropped["duplicate"] += 1
            else:
                kept[outcome.sha256] = outcome
    return list(kept.values()), dropped


def check_labels(manifest: Manifest, classes: Sequence[str]) -> None:
    """Raise DataError if the manifest has a label that the network was not trained on."""
    unknown = sorted(set(manifest.classes) - set(classes))
    if unknown:
        raise DataError(
            f"{manifest.path} has labels this model does not know: {', '.join(unknown)}; "
            f"it knows {', '.join(classes)}.",
            "Use the manifest it was trained on, or train a model on this one.",
        )


def load_entry(entry: Entry, size: int) -> GreyImage:
    """Decode one entry to uint8 (size, size).

    Raises:
        DataError: The image is missing, unreadable, or not the one the manifest was made from.
    """
    try:
        pixels = load_grey(entry.path, size)
        sha256 = sha256_of_source(entry.path) if entry.sha256 else ""
    except ImageError as error:
        raise DataError(error.message, "Make the manifest again.") from None
    if sha256 != entry.sha256:
        raise DataError(
            f"{entry.path} changed since the manifest was made.", "Make the manifest again."
        )
    return pixels


def load_pixels(
    entries: Sequence[Entry], size: int, on_image: Callable[[], None] = lambda: None
) -> GreyImage:
    """Decode entries in their order.

    Returns:
        uint8 array, shape (len(entries), size, size).

    Raises:
        DataError: An image is missing, unreadable, or not the one the manifest was made from.
    """

    def load(entry: Entry) -> GreyImage:
        pixels = load_entry(entry, size)
        on_image()
        return pixels

    pixels = np.empty((len(entries), size, size), dtype=np.uint8)
    with ThreadPoolExecutor() as pool:
        for index, image in enumerate(pool.map(load, entries)):
            pixels[index] = image
    return pixels


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
    )
