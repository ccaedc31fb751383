"""One X-ray in several files: reported across splits, or reduced to one file before splitting."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cxredge.artifacts.records import UNSET, Count, UnsetType
from cxredge.data.appearance import Appearance
from cxredge.data.manifest import Entry
from cxredge.data.perceptual_hash import BITS, Hashes, near_pairs
from cxredge.vocabulary import Split

_EXAMPLES = 20


@dataclass(frozen=True)
class DuplicatePair:
    """Two files in different splits that show one X-ray.

    Attributes:
        paths: The files.
        labels: Their classes.
        splits: Their splits.
        bits: Number of hash bits that differ.
        of_bits: Number of hash bits.
        changed: Whether they match only as negative or mirror image.
    """

    paths: tuple[str, str]
    labels: tuple[str, str]
    splits: tuple[str, str]
    bits: Count
    of_bits: Count
    changed: bool


@dataclass(frozen=True)
class NearDuplicates:
    """Near duplicates across splits.

    Attributes:
        count: Number of pairs.
        images: Number of images in them.
        examples: The 20 nearest pairs, nearest first.
        of_controls: Number of controls that show the X-ray of a class, in any split; UNSET without
            controls.
    """

    count: Count
    images: Count
    examples: tuple[DuplicatePair, ...]
    of_controls: Count | UnsetType = UNSET


def near_duplicates_across_splits(appearance: Appearance) -> NearDuplicates:
    """Return the pairs of files in different splits that show one X-ray.

    Controls are not among the pairs; those that show an X-ray of a class are counted. Files with
    equal bytes are excluded: ``duplicates_across_splits`` of the audit counts them.
    """
    entries = appearance.entries
    splits = np.array([entry.split.value for entry in entries])
    control = np.array([entry.split is Split.CONTROL for entry in entries], dtype=bool)
    # A file without a hash in the manifest equals no other.
    files = np.array([entry.sha256 or str(n) for n, entry in enumerate(entries)])
    count, involved, controls = 0, np.zeros(len(entries), dtype=bool), set[int]()
    nearest: list[tuple[int, int, int, bool]] = []
    for pairs in near_pairs(appearance.hashes):
        a, b = pairs.first, pairs.second
        leaks = (splits[a] != splits[b]) & (files[a] != files[b])
        mixed = leaks & (control[a] | control[b])
        controls |= {*np.where(control[a[mixed]], a[mixed], b[mixed]).tolist()}
        leaks &= ~mixed
        count += int(leaks.sum())
        involved[a[leaks]] = involved[b[leaks]] = True
        columns = (pairs.distance, a, b, pairs.changed)
        found = zip(*(column[leaks].tolist() for column in columns), strict=True)
        nearest = heapq.nsmallest(_EXAMPLES, [*nearest, *found])
    examples = [_pair(entries[a], entries[b], bits, c) for bits, a, b, c in nearest]
    of_controls = len(controls) if control.any() else UNSET
    return NearDuplicates(count, int(involved.sum()), tuple(examples), of_controls)


def keep_one_of_each(entries: Sequence[Entry], hashes: Hashes) -> tuple[list[Entry], int]:
    """Keep the first file of each X-ray, and join the patients who share one.

    An X-ray under two patient names belongs to one person, and so do the other images of both
    names. An X-ray under two labels is kept twice, because nothing shows which label is right; the
    audit reports it.

    Args:
        entries: Readable images.
        hashes: Their perceptual hashes, uint8 (N, 69).

    Returns:
        The entries kept, in their order, with the first of the joined patient names; and the
        number of patient names that were joined to another.
    """
    files = DisjointSets()
    people = DisjointSets()
    for pairs in near_pairs(hashes):
        for a, b in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
            if entries[a].label != entries[b].label:
                continue
            files.join(a, b)
            people.join(entries[a].patient, entries[b].patient)
    order: dict[Any, str] = {}
    kept = []
    for number, entry in enumerate(entries):
        name = order.setdefault(people.of(entry.patient), entry.patient)
        if files.of(number) == number:
            kept.append(replace(entry, patient=name))
    joined = len({e.patient for e in entries}) - len(order)
    return kept, joined


class DisjointSets:
    """Sets of items that belong together, directly or through others (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[Any, Any] = {}

    def of(self, item: Any) -> Any:
        """Return the representative of the item's set: its smallest member."""
        while (parent := self._parent.get(item, item)) != item:
            item = parent
        return item

    def join(self, one: Any, other: Any) -> None:
        """Merge the sets of both items."""
        low, high = sorted((self.of(one), self.of(other)))
        if low != high:
            self._parent[high] = low


def _pair(first: Entry, second: Entry, bits: int, changed: bool) -> DuplicatePair:
    return DuplicatePair(
        paths=(str(first.path), str(second.path)),
        labels=(first.label, second.label),
        splits=(first.split.value, second.split.value),
        bits=bits,
        of_bits=BITS,
        changed=changed,
    )
