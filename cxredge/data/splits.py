"""Splits of a data set into train, val and test by fractions, with patients kept whole."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from cxredge.data.manifest import Entry
from cxredge.vocabulary import CLASS_SPLITS, Split, SplitBy


def split_fractions(
    samples: Iterable[Entry], split_by: SplitBy, seed: int, fractions: tuple[float, float, float]
) -> list[Entry]:
    """Assign every sample to train, val or test, class by class, close to the given fractions.

    Patients are assigned one by one, largest first, each to the split that lacks the largest share
    of its images and has room for the patient. So patients with many images, who differ in their
    disease and care, are in all splits in the same proportion.
    """
    # A patient with images of two classes keeps the split assigned with the first class.
    split_of: dict[str, Split] = {}
    entries: list[Entry] = []
    for label, found in sorted(group_by_label(samples).items()):
        rng = random.Random(f"{seed}/{label}")  # noqa: S311 - reproducible, not cryptographic
        groups = group_whole(found, split_by)
        rng.shuffle(groups)
        groups.sort(key=len, reverse=True)
        wanted = {
            split: len(found) * part for split, part in zip(CLASS_SPLITS, fractions, strict=True)
        }
        lacking = dict(wanted)
        for group in groups:
            key = group[0].patient if split_by is SplitBy.PATIENT else group[0].sha256
            split = split_of.setdefault(key, _neediest(wanted, lacking, len(group)))
            lacking[split] -= len(group)
            entries += [replace(sample, split=split) for sample in group]
    return entries


def _neediest(wanted: Mapping[Split, float], lacking: Mapping[Split, float], images: int) -> Split:
    """Return the split for a number of images: of those with room, the relatively emptiest."""
    roomy = [split for split in wanted if lacking[split] >= images]
    if not roomy:
        return max(lacking, key=lambda split: lacking[split])
    return max(roomy, key=lambda split: lacking[split] / wanted[split])


def carve_validation(entries: Sequence[Entry], split_by: SplitBy, seed: int) -> list[Entry]:
    """Move a fifth of the training images to validation, for sets without a validation split."""
    return _carve(entries, split_by, seed, (0.8, 0.2, 0.0))


def carve_test(entries: Sequence[Entry], split_by: SplitBy, seed: int) -> list[Entry]:
    """Move a fifth of the training images to test, for sets without a test split."""
    return _carve(entries, split_by, seed, (0.8, 0.0, 0.2))


def _carve(
    entries: Sequence[Entry], split_by: SplitBy, seed: int, fractions: tuple[float, float, float]
) -> list[Entry]:
    train = [entry for entry in entries if entry.split is Split.TRAIN]
    rest = [entry for entry in entries if entry.split is not Split.TRAIN]
    return split_fractions(train, split_by, seed, fractions) + rest


def group_by_label(samples: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Return the samples of each class, sorted by hash: their order does not affect a draw."""
    by_label: dict[str, list[Entry]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: sample.sha256):
        by_label[sample.label].append(sample)
    return by_label


def group_whole(samples: Iterable[Entry], split_by: SplitBy) -> list[list[Entry]]:
    """Return the groups of samples that stay in one split: patients, or single images."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for sample in samples:
        groups[sample.patient if split_by is SplitBy.PATIENT else sample.sha256].append(sample)
    return list(groups.values())
