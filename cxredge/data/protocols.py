"""The paper's protocols CXR A, B and C, and a split of all images."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from cxredge.data.left_out import LeftOut
from cxredge.data.manifest import Entry
from cxredge.data.splits import group_by_label, group_whole, split_fractions
from cxredge.errors import DataError
from cxredge.vocabulary import ProtocolName, Split, SplitBy

Counts = Mapping[Split, int]


def _counts(train: int, val: int, test: int) -> Counts:
    return {Split.TRAIN: train, Split.VAL: val, Split.TEST: test}


_FOUR = ("bacterial", "covid19", "normal", "viral")

PROTOCOLS: Mapping[ProtocolName, Mapping[str, Counts]] = {
    ProtocolName.CXR_A: {label: _counts(134, 33, 19) for label in _FOUR},
    ProtocolName.CXR_B: {label: _counts(118, 30, 38) for label in _FOUR},
    ProtocolName.CXR_C: {
        "covid19": _counts(118, 30, 38),
        "normal": _counts(118, 30, 38),
        "sars": _counts(10, 3, 3),
    },
}
"""Number of images by protocol, class and split, from the paper's data table."""

FULL_FRACTIONS = (0.7, 0.15, 0.15)
_ATTEMPTS = 1000


def draw_protocol(
    samples: Iterable[Entry], name: ProtocolName, split_by: SplitBy, seed: int
) -> list[Entry]:
    """Draw the images of a protocol at random, with its exact number per class and split.

    Args:
        samples: Usable images of all sources; images of other classes are ignored.
        name: The protocol.
        split_by: ``patient`` puts all images drawn of one patient into one split; ``image`` splits
            as the paper did, so that a patient's images may be in several splits.
        seed: The same seed draws the same images, independent of the order of ``samples``.

    Raises:
        DataError: A class has too few images.
    """
    by_label = group_by_label(samples)
    entries: list[Entry] = []
    used: set[str] = set()
    for label, counts in PROTOCOLS[name].items():
        # A patient with images of two classes is used for the first only, and so is in one split.
        found = [
            entry
            for entry in by_label.get(label, [])
            if split_by is SplitBy.IMAGE or entry.patient not in used
        ]
        needed = sum(counts.values())
        if len(found) < needed:
            raise DataError(
                f"{name.value} needs {needed} images of '{label}'; {len(found)} were found.",
                "Check the folders given.",
            )
        rng = random.Random(f"{seed}/{name.value}/{label}")  # noqa: S311 - not cryptographic
        drawn = _draw_class(label, group_whole(found, split_by), counts, rng)
        used |= {entry.patient for entry in drawn}
        entries += drawn
    return entries


def draw_full(
    samples: Iterable[Entry], split_by: SplitBy, seed: int, *, balanced: bool, sars: bool
) -> tuple[list[Entry], LeftOut]:
    """Split all usable images 70/15/15.

    Args:
        samples: Usable images of all sources.
        split_by: See :func:`draw_protocol`.
        seed: See :func:`draw_protocol`.
        balanced: Draw as many images of each class as the smallest has; otherwise all are used, and
            the class weights of the training loss compensate for the imbalance.
        sars: Keep SARS as a class. Its 16 images of 8 patients put only 2 into the test split,
            which says little about the class, and limit the others to 16 if balanced.

    Returns:
        The entries; and the images left out by reason: ``sars``, ``balance``.

    Raises:
        DataError: A class has no image.
    """
    listed = sorted(samples, key=lambda sample: sample.sha256)
    if missing := sorted({*_FOUR, *(("sars",) if sars else ())} - {s.label for s in listed}):
        raise DataError(f"No images of {', '.join(missing)} found.", "Check the folders given.")
    chosen = listed if sars else [sample for sample in listed if sample.label != "sars"]
    left_out = LeftOut()
    for entry in listed:
        if not sars and entry.label == "sars":
            left_out.leave(entry.path, "sars")
    if balanced:
        found, chosen = chosen, balance(chosen, split_by, seed)
        drawn = {entry.sha256 for entry in chosen}
        for entry in found:
            if entry.sha256 not in drawn:
                left_out.leave(entry.path, "balance")
    return split_fractions(chosen, split_by, seed, FULL_FRACTIONS), left_out


def balance(samples: Sequence[Entry], split_by: SplitBy, seed: int) -> list[Entry]:
    """Draw as many images of each class as the smallest class has.

    Patients are drawn whole. If the next patient has more images than are still needed, another is
    drawn; if none fits, part of the smallest remaining patient is used.
    """
    by_label = group_by_label(samples)
    wanted = min((len(found) for found in by_label.values()), default=0)
    drawn: list[Entry] = []
    for label, found in sorted(by_label.items()):
        rng = random.Random(f"{seed}/balance/{label}")  # noqa: S311 - not cryptographic
        groups = group_whole(found, split_by)
        rng.shuffle(groups)
        chosen, unused = _take(groups, wanted)
        if lacking := wanted - len(chosen):
            chosen += min(unused, key=len)[:lacking]
        drawn += chosen
    return drawn


def _draw_class(
    label: str, groups: list[list[Entry]], counts: Counts, rng: random.Random
) -> list[Entry]:
    """Fill the splits with whole groups; draw again if an order does not fill them exactly."""
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
    """Fill the splits in turn; return None if one cannot be filled exactly."""
    drawn: list[Entry] = []
    left = order
    for split in (Split.TEST, Split.VAL, Split.TRAIN):
        chosen, left = _take(left, counts[split])
        if len(chosen) < counts[split]:
            return None
        drawn += [replace(sample, split=split) for sample in chosen]
    return drawn


def _take(groups: list[list[Entry]], count: int) -> tuple[list[Entry], list[list[Entry]]]:
    """Return the samples of the groups that fit into ``count``, in order; and the other groups."""
    chosen: list[Entry] = []
    unused = []
    for group in groups:
        if len(chosen) + len(group) <= count:
            chosen += group
        else:
            unused.append(group)
    return chosen, unused
