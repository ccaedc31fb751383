"""What a data set can mislead about: leaks, imbalance, and where classes come from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from cxredge.data.manifest import Entry, Manifest

_IMBALANCE = 3.0
_CONFOUNDED = 0.5


def audit(manifest: Manifest) -> dict[str, Any]:
    """Report leaks, duplicates, balance, views and source confounding.

    Returns:
        ``patients_in_two_splits``, ``duplicates_across_splits`` (files of equal bytes), ``counts``,
        ``views`` and ``sources`` by class, ``source_association`` (Cramér's V of class and source,
        0 independent, 1 one decides the other), and ``warnings``.
    """
    return {
        "images": len(manifest.entries),
        "patients": len({entry.patient for entry in manifest.entries}),
        "patients_in_two_splits": manifest.patients_in_two_splits(),
        "duplicates_across_splits": _duplicates_across_splits(manifest.entries),
        "counts": manifest.counts(),
        "views": _by_class(manifest.entries, "view"),
        "sources": _by_class(manifest.entries, "source"),
        "source_association": source_association(manifest.entries),
        "warnings": audit_warnings(manifest),
    }


def audit_warnings(manifest: Manifest) -> list[str]:
    """Return a sentence for each thing that would make results on this set look better."""
    found = []
    if patients := manifest.patients_in_two_splits():
        found.append(
            f"{patients} patients have images in more than one split: accuracy is optimistic."
        )
    if copies := _duplicates_across_splits(manifest.entries):
        found.append(f"{copies} images are in more than one split: accuracy is optimistic.")
    sizes = Counter(entry.label for entry in manifest.entries)
    (most, largest), (least, smallest) = sizes.most_common(1)[0], sizes.most_common()[-1]
    if largest > _IMBALANCE * smallest:
        found.append(
            f"Classes are uneven: {largest} images of '{most}', {smallest} of '{least}'; accuracy "
            "says little about the small ones."
        )
    return found + source_warnings(manifest)


def source_warnings(manifest: Manifest) -> list[str]:
    """Return a warning when the source gives the class away."""
    by_class = _by_class(manifest.entries, "source")
    everywhere = {source for sources in by_class.values() for source in sources}
    if len(everywhere) < 2 or source_association(manifest.entries) < _CONFOUNDED:
        return []
    told = "; ".join(f"{label}: {', '.join(sources)}" for label, sources in by_class.items())
    return [
        "Classes come from different sources (" + told + "): the network may tell the source "
        "(scanner, age group, file processing) instead of the disease, so that results may not "
        "hold elsewhere."
    ]


def source_association(entries: Iterable[Entry]) -> float:
    """Return Cramér's V of class and source, in [0, 1] (Cramér 1946, chapter 21)."""
    pairs = Counter((entry.label, entry.source) for entry in entries)
    labels = sorted({label for label, _ in pairs})
    sources = sorted({source for _, source in pairs})
    if len(labels) < 2 or len(sources) < 2:
        return 0.0
    table = np.array([[pairs[label, source] for source in sources] for label in labels], float)
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    chi_squared = ((table - expected) ** 2 / expected).sum()
    return float(np.sqrt(chi_squared / (table.sum() * (min(table.shape) - 1))))


def _by_class(entries: Iterable[Entry], field: str) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        counts[entry.label][getattr(entry, field) or "not stated"] += 1
    return {label: dict(sorted(values.items())) for label, values in sorted(counts.items())}


def _duplicates_across_splits(entries: Iterable[Entry]) -> int:
    splits = defaultdict(set)
    for entry in entries:
        if entry.sha256:
            splits[entry.sha256].add(entry.split)
    return sum(len(of_file) > 1 for of_file in splits.values())
