"""Choosing the X-rays that INT8 ranges are measured on."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from cxredge.data.manifest import Entry, Manifest, read_manifest, write_manifest
from cxredge.errors import DataError
from cxredge.vocabulary import Split

_MAKE = "Make one: cxredge calibrate MANIFEST --count 256 --out FILE"
FEWEST_IMAGES = 100
"""Calibration images below which ranges are not to be trusted without a look."""


def choose(manifest: Manifest, count: int, seed: int) -> list[Entry]:
    """Choose calibration images: training split only, classes even, as many patients as possible.

    Classes take turns, so that each gets the same share until it has no images left; within a
    class, patients take turns.

    Args:
        manifest: Where to choose from.
        count: How many; at most as many as there are training images.
        seed: Same seed, same choice.

    Raises:
        DataError: There are too few training images.
    """
    training = manifest.of(Split.TRAIN)
    if count < 1 or count > len(training):
        raise DataError(
            f"{count} calibration images were asked for; {manifest.path} has {len(training)} "
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
    """Choose calibration images and write them as a manifest of their own."""
    return write_manifest(out, choose(manifest, count, seed))


def read_calibration(path: Path) -> Manifest:
    """Read a calibration list.

    Raises:
        DataError: It is no manifest, or holds images that are not for training.
    """
    if not path.is_file():
        raise DataError(f"{path} is no calibration list: there is no such file.", _MAKE)
    calibration = read_manifest(path)
    others = Counter(e.split.value for e in calibration.entries if e.split is not Split.TRAIN)
    if others:
        raise DataError(
            f"{path} holds {sum(others.values())} images that are not for training "
            f"({', '.join(sorted(others))}); accuracy measured on them would be optimistic.",
            _MAKE,
        )
    return calibration


def check_apart(calibration: Manifest, evaluation: Manifest, split: Split) -> None:
    """Refuse a calibration set that has seen what is evaluated.

    Patients whose images the evaluation's own manifest has both in training and in ``split`` are
    let through: it was split by image on purpose, and says so wherever it is shown.

    Args:
        calibration: The calibration list.
        evaluation: The manifest that is evaluated on.
        split: Which of its images.

    Raises:
        DataError: An image, or a patient, is in both.
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
    """Return why a calibration set may be too small, or nothing."""
    count = len(calibration.entries)
    if count >= FEWEST_IMAGES:
        return ""
    return (
        f"{count} calibration images are few: the largest activations of unseen images are then "
        f"likely beyond what was measured and clipped. Use {FEWEST_IMAGES} or more."
    )


def _patients(entries: Iterable[Entry]) -> set[tuple[str, str]]:
    return {(entry.source, entry.patient) for entry in entries if entry.patient}


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
