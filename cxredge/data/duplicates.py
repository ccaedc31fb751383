"""One X-ray under several names: found across splits, or reduced to one before splits are drawn."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cxredge.data.appearance import Appearance
from cxredge.data.manifest import Entry
from cxredge.data.perceptual_hash import BITS, Hashes, near_pairs

_EXAMPLES = 20


def near_duplicates_across_splits(appearance: Appearance) -> dict[str, Any]:
    """Return how many pairs of files in different splits show one X-ray.

    Files of equal bytes are left to ``duplicates_across_splits``.

    Returns:
        ``count`` of pairs, ``images`` in them, and as ``examples`` the 20 nearest pairs:
        ``paths``, ``labels``, ``splits``, ``bits`` that differ of ``of_bits``, and ``changed``,
        whether they match as negative or mirror image only.
    """
    entries = appearance.entries
    splits = np.array([entry.split.value for entry in entries])
    # Without a hash in the manifest a file is equal to none.
    files = np.array([entry.sha256 or str(n) for n, entry in enumerate(entries)])
    count, involved = 0, np.zeros(len(entries), dtype=bool)
    nearest: list[tuple[int, int, int, bool]] = []
    for pairs in near_pairs(appearance.hashes):
        a, b = pairs.first, pairs.second
        leaks = (splits[a] != splits[b]) & (files[a] != files[b])
        count += int(leaks.sum())
        involved[a[leaks]] = involved[b[leaks]] = True
        columns = (pairs.distance, a, b, pairs.changed)
        found = zip(*(column[leaks].tolist() for column in columns), strict=True)
        nearest = heapq.nsmallest(_EXAMPLES, [*nearest, *found])
    examples = [_example(entries[a], entries[b], bits, c) for bits, a, b, c in nearest]
    return {"count": count, "images": int(involved.sum()), "examples": examples}


def keep_one_of_each(entries: Sequence[Entry], hashes: Hashes) -> tuple[list[Entry], int]:
    """Keep the first file of each X-ray, and give patients who share one a common name.

    An X-ray under two patient names belongs to one person, and so do the other images of both.
    One under two labels is kept twice, as nothing tells which label is right: the audit reports it.

    Args:
        entries: Readable images.
        hashes: Their fingerprints, uint8 (N, 69).

    Returns:
        The entries kept, in their order, the patient being the first of the joined names; and how
        many patient names were joined to another.
    """
    files = _Groups()
    people = _Groups()
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


class _Groups:
    """Things that belong together, directly or through others (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[Any, Any] = {}

    def of(self, item: Any) -> Any:
        """Return the representative of the item's group: its smallest member."""
        while (parent := self._parent.get(item, item)) != item:
            item = parent
        return item

    def join(self, one: Any, other: Any) -> None:
        """Make one group of the groups of both."""
        low, high = sorted((self.of(one), self.of(other)))
        if low != high:
            self._parent[high] = low


def _example(first: Entry, second: Entry, bits: int, changed: bool) -> dict[str, Any]:
    both = (first, second)
    return {
        "paths": [str(entry.path) for entry in both],
        "labels": [entry.label for entry in both],
        "splits": [entry.split.value for entry in both],
        "bits": bits,
        "of_bits": BITS,
        "changed": changed,
    }
