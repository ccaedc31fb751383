"""What a data set can mislead about: leaks, imbalance, and where classes come from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from cxredge.data.appearance import look_at
from cxredge.data.duplicates import near_duplicates_across_splits
from cxredge.data.manifest import Entry, Manifest
from cxredge.data.shortcuts import shortcut_warnings, shortcuts
from cxredge.progress import Progress

_IMBALANCE = 3.0
_CONFOUNDED = 0.5


def audit_images(manifest: Manifest, progress: Progress) -> dict[str, Any]:
    """Report what the manifest tells, and what only the images do.

    Images that cannot be read or changed are left out and counted.

    Returns:
        What :func:`audit` does, with more ``warnings``; ``near_duplicates_across_splits`` (see
        there), ``shortcuts`` (see there) and ``unusable`` images by reason.
    """
    with progress.task("Looking at X-rays", len(manifest.entries)) as advance:
        appearance = look_at(manifest.entries, lambda: advance(1))
    found = {
        **audit(manifest),
        "near_duplicates_across_splits": near_duplicates_across_splits(appearance),
        "shortcuts": shortcuts(appearance),
        "unusable": dict(sorted(appearance.unusable.items())),
    }
    found["warnings"] += _appearance_warnings(found)
    return found


def audit(manifest: Manifest) -> dict[str, Any]:
    """Report leaks, duplicates, balance, views and source confounding, without the images.

    Returns:
        ``patients_in_two_splits``, ``duplicates_across_splits`` (files of equal bytes), ``counts``,
        ``views`` and ``sources`` by class, ``source_association`` (Cramér's V of class and source,
        0 independent, 1 one decides the other), ``view_association`` (the same of class and view,
        of the images whose view is stated), and ``warnings``.
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
        "view_association": view_association(manifest.entries),
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
    return found + _view_warnings(manifest) + source_warnings(manifest)


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
    """Return Cramér's V of class and source, in [0, 1]; 0 with one class or one source."""
    return _cramers_v(Counter((entry.label, entry.source) for entry in entries))


def view_association(entries: Iterable[Entry]) -> float:
    """Return Cramér's V of class and view, in [0, 1], of the images whose view is stated."""
    return _cramers_v(Counter((entry.label, entry.view) for entry in entries if entry.view))


def _cramers_v(pairs: Counter[tuple[str, str]]) -> float:
    """Return how far two properties decide each other, in [0, 1] (Cramér 1946, chapter 21)."""
    rows = sorted({row for row, _ in pairs})
    columns = sorted({column for _, column in pairs})
    if len(rows) < 2 or len(columns) < 2:
        return 0.0
    table = np.array([[pairs[row, column] for column in columns] for row in rows], float)
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    chi_squared = ((table - expected) ** 2 / expected).sum()
    return float(np.sqrt(chi_squared / (table.sum() * (min(table.shape) - 1))))


def _view_warnings(manifest: Manifest) -> list[str]:
    """Return a warning when views differ by class, or are stated for some classes only."""
    stated = [entry for entry in manifest.entries if entry.view]
    without = sorted(set(manifest.classes) - {entry.label for entry in stated})
    found = []
    if (association := view_association(stated)) >= _CONFOUNDED:
        told = "; ".join(
            f"{label}: " + ", ".join(f"{view} {number}" for view, number in views.items())
            for label, views in _by_class(stated, "view").items()
        )
        found.append(
            f"Views differ by class (Cramér's V {association:.2f}; {told}): the network may tell "
            "the view instead of the disease."
        )
    if stated and without:
        found.append(
            f"The view is stated for {len(stated)} of {len(manifest.entries)} images and for none "
            f"of {', '.join(without)}: whether classes differ in it is not known."
        )
    return found


def _appearance_warnings(found: dict[str, Any]) -> list[str]:
    sentences = []
    if unusable := sum(found["unusable"].values()):
        sentences.append(
            f"{unusable} of {found['images']} images could not be looked at ("
            + ", ".join(f"{reason} {number}" for reason, number in found["unusable"].items())
            + "): duplicates among them are not known."
        )
    near = found["near_duplicates_across_splits"]
    if near["count"]:
        sentences.append(
            f"{near['images']} images are near duplicates of an image in another split "
            f"({near['count']} pairs): accuracy is optimistic."
        )
    return sentences + shortcut_warnings(found["shortcuts"])


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
