"""The paper's protocols CXR A, B and C, and the drawing of splits with patients kept apart."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cxredge.data.manifest import Entry
from cxredge.errors import DataError
from cxredge.vocabulary import ProtocolName, Split, SplitBy

Counts = Mapping[Split, int]


@dataclass(frozen=True)
class Protocol:
    """How many images of each class each split holds."""

    counts: Mapping[str, Counts]


def _counts(train: int, val: int, test: int) -> Counts:
    return {Split.TRAIN: train, Split.VAL: val, Split.TEST: test}


_FOUR = ("bacterial", "covid19", "normal", "viral")

PROTOCOLS: Mapping[ProtocolName, Protocol] = {
    ProtocolName.CXR_A: Protocol({label: _counts(134, 33, 19) for label in _FOUR}),
    ProtocolName.CXR_B: Protocol({label: _counts(118, 30, 38) for label in _FOUR}),
    ProtocolName.CXR_C: Protocol(
        {
            "covid19": _counts(118, 30, 38),
            "normal": _counts(118, 30, 38),
            "sars": _counts(10, 3, 3),
        }
    ),
}
"""Images per class and split as the paper's data table gives them."""

_ATTEMPTS = 1000


def draw_protocol(
    samples: Iterable[Entry], name: ProtocolName, split_by: SplitBy, seed: int
) -> list[Entry]:
    """Draw a protocol's images at random, exactly as many of each class and split as it asks.

    Args:
        samples: Usable images of all sources; those of other classes are ignored.
        name: The protocol.
        split_by: ``patient`` puts all images drawn of one patient into one split; ``image`` splits
            as the paper did, and lets a patient's images fall into several.
        seed: Same seed, same draw, whatever the order of ``samples``.

    Raises:
        DataError: There are too few images of a class.
    """
    by_class = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: sample.sha256):
        by_class[sample.label].append(sample)
    entries: list[Entry] = []
    taken: set[str] = set()
    for label, counts in PROTOCOLS[name].counts.items():
        # A patient with images of two classes serves the first alone, so that no split shares him.
        found = [e for e in by_class[label] if split_by is SplitBy.IMAGE or e.patient not in taken]
        needed = sum(counts.values())
        if len(found) < needed:
            raise DataError(
                f"{name.value} needs {needed} images of '{label}'; {len(found)} were found.",
                "Check the folders given.",
            )
        rng = random.Random(f"{seed}/{name.value}/{label}")  # noqa: S311 - a draw, not a secret
        groups = _groups(found, split_by)
        drawn = _draw_class(label, groups, counts, rng)
        taken |= {entry.patient for entry in drawn}
        entries += drawn
    return entries


def split_fractions(
    samples: Sequence[Entry], split_by: SplitBy, seed: int, fractions: tuple[float, float, float]
) -> list[Entry]:
    """Put every sample into train, val or test, class by class, close to the given fractions.

    Patients are dealt one by one to the split that lacks most, the largest first, so that small
    classes are spread as evenly as whole patients allow.
    """
    by_class = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: sample.sha256):
        by_class[sample.label].append(sample)
    # A patient with images of two classes keeps the split that the first one drew.
    split_of: dict[str, Split] = {}
    entries: list[Entry] = []
    for label, found in sorted(by_class.items()):
        rng = random.Random(f"{seed}/{label}")  # noqa: S311 - a draw, not a secret
        groups = _groups(found, split_by)
        rng.shuffle(groups)
        groups.sort(key=len, reverse=True)
        lacking = {split: len(found) * part for split, part in zip(Split, fractions, strict=True)}
        for group in groups:
            neediest = max(lacking, key=lambda split: lacking[split])
            key = group[0].patient if split_by is SplitBy.PATIENT else group[0].sha256
            split = split_of.setdefault(key, neediest)
            lacking[split] -= len(group)
            entries += [replace(sample, split=split) for sample in group]
    return entries


FULL_FRACTIONS = (0.7, 0.15, 0.15)


def draw_full(
    samples: Iterable[Entry], split_by: SplitBy, seed: int, *, balanced: bool, sars: bool
) -> tuple[list[Entry], Counter[str]]:
    """Split all usable images 70/15/15.

    Args:
        samples: Usable images of all sources.
        split_by: As for :func:`draw_protocol`.
        seed: Same seed, same draw, whatever the order of ``samples``.
        balanced: Draw as many images of each class as the smallest has; else all are used, and
            training's class weights make up for the difference.
        sars: Keep SARS as a class. Its 16 images of 8 patients would put 2 into the test split,
            which says nothing of the class, and balance the others to 16.

    Returns:
        The entries; and how many were left out by reason: ``sars``, ``balance``.

    Raises:
        DataError: There is no image of a class.
    """
    listed = sorted(samples, key=lambda sample: sample.sha256)
    if missing := sorted({*_FOUR, *(("sars",) if sars else ())} - {s.label for s in listed}):
        raise DataError(f"No images of {', '.join(missing)} found.", "Check the folders given.")
    chosen = listed if sars else [sample for sample in listed if sample.label != "sars"]
    dropped = Counter(sars=len(listed) - len(chosen))
    if balanced:
        found, chosen = chosen, balance(chosen, split_by, seed)
        dropped["balance"] = len(found) - len(chosen)
    return split_fractions(chosen, split_by, seed, FULL_FRACTIONS), +dropped


def balance(samples: Sequence[Entry], split_by: SplitBy, seed: int) -> list[Entry]:
    """Draw as many images of each class as the smallest class has.

    Patients are drawn whole; where the next one is too large for what is still lacking, another
    is taken, and if none fits, part of the smallest that is left.
    """
    by_class = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: sample.sha256):
        by_class[sample.label].append(sample)
    wanted = min((len(found) for found in by_class.values()), default=0)
    drawn: list[Entry] = []
    for label, found in sorted(by_class.items()):
        rng = random.Random(f"{seed}/balance/{label}")  # noqa: S311 - a draw, not a secret
        groups = _groups(found, split_by)
        rng.shuffle(groups)
        lacking, unused = wanted, []
        for group in groups:
            if len(group) <= lacking:
                drawn += group
                lacking -= len(group)
            else:
                unused.append(group)
        if lacking:
            drawn += min(unused, key=len)[:lacking]
    return drawn


def _groups(samples: Sequence[Entry], split_by: SplitBy) -> list[list[Entry]]:
    groups: dict[str, list[Entry]] = defaultdict(list)
    for sample in samples:
        groups[sample.patient if split_by is SplitBy.PATIENT else sample.sha256].append(sample)
    return list(groups.values())


def _draw_class(
    label: str, groups: list[list[Entry]], counts: Counts, rng: random.Random
) -> list[Entry]:
    """Fill the splits with whole groups; a random order that does not add up is drawn again."""
    for _ in range(_ATTEMPTS):
        order = list(groups)
        rng.shuffle(order)
        drawn = _fill(order, counts)
        if drawn is not None:
            return drawn
    raise DataError(
        f"The patients of '{label}' cannot be kept apart in splits of exactly "
        + "/".join(str(number) for number in counts.values())
        + " images.",
        "Use --split image, or other data.",
    )


def _fill(order: list[list[Entry]], counts: Counts) -> list[Entry] | None:
    drawn: list[Entry] = []
    left = list(order)
    for split in (Split.TEST, Split.VAL, Split.TRAIN):
        lacking = counts[split]
        unused = []
        for group in left:
            if len(group) <= lacking:
                drawn += [replace(sample, split=split) for sample in group]
                lacking -= len(group)
            else:
                unused.append(group)
        if lacking:
            return None
        left = unused
    return drawn


def carve_validation(entries: Sequence[Entry], split_by: SplitBy, seed: int) -> list[Entry]:
    """Move a fifth of the training images to validation, for sets that come without one."""
    train = [entry for entry in entries if entry.split is Split.TRAIN]
    rest = [entry for entry in entries if entry.split is not Split.TRAIN]
    return split_fractions(train, split_by, seed, (0.8, 0.2, 0.0)) + rest
