"""The calibration set: the X-rays on which INT8 ranges are measured."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from cxredge.data.manifest import Entry, Manifest, read_manifest, write_manifest
from cxredge.errors import DataError
from cxredge.vocabulary import Split

_MAKE = "Make one: cxredge calibrate MANIFEST --count 256 --out FILE"
MIN_IMAGES = 100
"""Number of calibration images below which a warning is shown."""


def choose(manifest: Manifest, count: int, seed: int) -> list[Entry]:
    """Choose calibration images of the training split, balanced over classes and patients.

    Images are drawn from the classes in turn until a class has none left, and within a class from
    the patients in turn.

    Args:
        manifest: The manifest.
        count: Number of images; at most that of the training images.
        seed: Random seed.

    Raises:
        DataError: There are too few training images.
    """
    training = manifest.of(Split.TRAIN)
    if count < 1 or count > len(training):
        raise DataError(
            f"{count} calibration images were requested; {manifest.path} has {len(training)} "
            "training images.",
            f"Use --count between 1 and {len(training)}.",
        )
    rng = random.Random(seed)  # noqa: S311 - a draw, not a secret
    by_class: dict[str, list[Entry]] = defaultdict(list)
    for entry in training:
        by_class[entry.label].append(entry)
    queues = [_patients_in_turn(by_class[label], rng) for label in sorted(by_class)]
    return _take_in_turn(queues)[:count]


def write_calibration(manifest: Manifest, count: int, seed: int, out: Path) -> Manifest:
    """Choose calibration images and write them as a manifest."""
    return write_manifest(out, choose(manifest, count, seed))


def read_calibration(path: Path) -> Manifest:
    """Read a calibration list.

    Raises:
        DataError: The file is missing or not a manifest, or has images outside the training split.
    """
    if not path.is_file():
        raise DataError(f"The calibration list {path} does not exist.", _MAKE)
    calibration = read_manifest(path)
    others = Counter(e.split.value for e in calibration.entries if e.split is not Split.TRAIN)
    if others:
        raise DataError(
            f"{path} holds {sum(others.values())} images outside the training split "
            f"({', '.join(sorted(others))}); accuracy measured on them would be optimistic.",
            _MAKE,
        )
    return calibration


def check_apart(calibration: Manifest, evaluation: Manifest, split: Split) -> None:
    """Refuse a calibration set that shares images or patients with the evaluation split.

    Patients with images both in the training split and in ``split`` of the evaluation manifest are
    allowed: such a manifest was split by image on purpose, which every result states.

    Args:
        calibration: The calibration list.
        evaluation: The manifest used for evaluation.
        split: The evaluation split.

    Raises:
        DataError: An image or a patient is in both.
    """
    entries = evaluation.of(split)
    used = {entry.sha256 for entry in calibration.entries}
    shared = sum(entry.sha256 in used for entry in entries)
    if shared:
        raise DataError(
            f"{shared} images are in both {calibration.path} and the evaluation split; accuracy "
            "would be optimistic.",
            "Calibrate on the training split of the same manifest.",
        )
    known = _patients(e for e in evaluation.entries if e.split is Split.TRAIN)
    patients = (_patients(calibration.entries) & _patients(entries)) - known
    if patients:
        raise DataError(
            f"{len(patients)} patients of the evaluation split have other images in "
            f"{calibration.path}; accuracy would be optimistic.",
            "Calibrate on the training split of the same manifest.",
        )


def too_few_images(calibration: Manifest) -> str:
    """Return a warning if a calibration set may be too small, or an empty string."""
    count = len(calibration.entries)
    if count >= MIN_IMAGES:
        return ""
    return (
        f"{count} calibration images are few: the largest activations of other images probably "
        f"exceed the measured ranges and are clipped. Use {MIN_IMAGES} or more."
    )


def _patients(entries: Iterable[Entry]) -> set[tuple[str, str]]:
    return {(entry.source, entry.patient) for entry in entries if entry.patient_known}


def _patients_in_turn(entries: Sequence[Entry], rng: random.Random) -> list[Entry]:
    by_patient: dict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.sha256):
        by_patient[entry.patient].append(entry)
    queues = list(by_patient.values())
    rng.shuffle(queues)
    return _take_in_turn(queues)


def _take_in_turn(queues: Sequence[Sequence[Entry]]) -> list[Entry]:
    longest = max((len(queue) for queue in queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]
