"""Data audit: leaks, imbalance and confounding that make results on a set misleading."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from cxredge.artifacts.records import Count
from cxredge.data.appearance import extract_appearance
from cxredge.data.duplicates import NearDuplicates, near_duplicates_across_splits
from cxredge.data.manifest import Entry, Manifest
from cxredge.data.set_warnings import split_warnings
from cxredge.data.shortcuts import Shortcuts, find_shortcuts, shortcut_warnings
from cxredge.progress import Progress

_IMBALANCE = 3.0
_CONFOUNDED = 0.5
_NOT_STATED = "not stated"


@dataclass(frozen=True)
class ManifestAudit:
    """Audit of a manifest without its images.

    Attributes:
        images: Number of images of the classes.
        patients: Number of their patients.
        patients_in_two_splits: Number of patients with images in more than one split.
        duplicates_across_splits: Number of files whose bytes occur in more than one split.
        counts: Number of images by split and class.
        views: Number of images by class and view.
        sources: Number of images by class and source.
        source_association: Cramér's V of class and source: 0 if independent, 1 if one determines
            the other.
        view_association: Cramér's V of class and view, of the images whose view is stated.
        warnings: One sentence for each problem.
        images_without_patient: Number of images whose patient is not known; each counts as a
            patient of its own.
        controls: Number of controls by kind and source.
    """

    images: Count
    patients: Count
    patients_in_two_splits: Count
    duplicates_across_splits: Count
    counts: dict[str, dict[str, Count]]
    views: dict[str, dict[str, Count]]
    sources: dict[str, dict[str, Count]]
    source_association: float
    view_association: float
    warnings: tuple[str, ...]
    images_without_patient: Count = field(default=0, kw_only=True)
    controls: dict[str, dict[str, Count]] = field(default_factory=dict, kw_only=True)


@dataclass(frozen=True)
class Audit(ManifestAudit):
    """Audit of a manifest and its images.

    Attributes:
        near_duplicates_across_splits: Pairs of files in different splits that show one X-ray.
        shortcuts: Accuracies of linear models that see no lung.
        unusable: Number of images that could not be read or have changed, by reason.
    """

    near_duplicates_across_splits: NearDuplicates
    shortcuts: Shortcuts
    unusable: dict[str, Count]


def audit_images(manifest: Manifest, progress: Progress) -> Audit:
    """Audit a manifest and its images.

    Images that cannot be read or have changed are left out and counted.
    """
    with progress.task("Auditing X-rays", len(manifest.entries)) as advance:
        appearance = extract_appearance(manifest.entries, lambda: advance(1))
    audit = Audit(
        **vars(audit_manifest(manifest)),
        near_duplicates_across_splits=near_duplicates_across_splits(appearance),
        shortcuts=find_shortcuts(appearance),
        unusable=dict(sorted(appearance.unusable.items())),
    )
    return replace(audit, warnings=(*audit.warnings, *_appearance_warnings(audit)))


def audit_manifest(manifest: Manifest) -> ManifestAudit:
    """Audit a manifest without reading its images."""
    return ManifestAudit(
        images=len(manifest.labelled),
        patients=len({entry.patient for entry in manifest.labelled}),
        patients_in_two_splits=manifest.patients_in_two_splits(),
        duplicates_across_splits=_duplicates_across_splits(manifest.labelled),
        counts=manifest.counts(),
        views=_by_class(manifest.labelled, "view"),
        sources=_by_class(manifest.labelled, "source"),
        source_association=source_association(manifest.labelled),
        view_association=view_association(manifest.labelled),
        warnings=tuple(manifest_warnings(manifest)),
        images_without_patient=sum(manifest.without_patient().values()),
        controls=_counted((entry.finding, entry.source) for entry in manifest.controls),
    )


def manifest_warnings(manifest: Manifest) -> list[str]:
    """Return a sentence for each property of the manifest that makes results look too good."""
    found = []
    labelled = manifest.labelled
    if patients := manifest.patients_in_two_splits():
        found.append(
            f"{patients} patients have images in more than one split: accuracy is optimistic."
        )
    if copies := _duplicates_across_splits(labelled):
        found.append(f"{copies} images are in more than one split: accuracy is optimistic.")
    if copies := _duplicates_across_splits(manifest.entries) - copies:
        found.append(f"{copies} controls are also images of a class: they show it.")
    sizes = Counter(entry.label for entry in labelled)
    (most, largest), (least, smallest) = sizes.most_common(1)[0], sizes.most_common()[-1]
    if largest > _IMBALANCE * smallest:
        found.append(
            f"Classes are imbalanced: {largest} images of '{most}', {smallest} of '{least}'; "
            "accuracy says little about the small classes."
        )
    found += [*split_warnings(manifest), *_view_warnings(manifest)]
    return found + source_warnings(manifest) + control_warnings(manifest)


def source_warnings(manifest: Manifest) -> list[str]:
    """Return a warning if the source of an image largely determines its class."""
    by_class = _by_class(manifest.labelled, "source")
    everywhere = {source for sources in by_class.values() for source in sources}
    if len(everywhere) < 2 or source_association(manifest.labelled) < _CONFOUNDED:
        return []
    listed = "; ".join(f"{label}: {', '.join(sources)}" for label, sources in by_class.items())
    return [
        f"Classes come from different sources ({listed}): the network may recognise the source "
        "(scanner, age group, file processing) instead of the disease, so results may not hold on "
        "other data."
    ]


def control_warnings(manifest: Manifest) -> list[str]:
    """Return a warning for the classes whose source has neither another class nor a control.

    A network may then recognise the source instead of the class, and nothing would show it.
    """
    by_class = _by_class(manifest.labelled, "source")
    others = {entry.source or _NOT_STATED for entry in manifest.controls}
    if len({source for sources in by_class.values() for source in sources}) < 2 and not others:
        return []
    alone = []
    for label, sources in by_class.items():
        elsewhere = {s for name, found in by_class.items() if name != label for s in found}
        if not set(sources) & (elsewhere | others):
            alone.append(f"{label} ({', '.join(sources)})")
    if not alone:
        return []
    return [
        "No other X-rays of the same source, neither of another class nor controls: "
        f"{'; '.join(alone)}. Whether the network recognises the disease or the source cannot be "
        "measured. Add controls: cxredge data folder --controls, or data prepare."
    ]


def source_association(entries: Iterable[Entry]) -> float:
    """Return Cramér's V of class and source, in [0, 1]; 0 with one class or one source."""
    return _cramers_v(Counter((entry.label, entry.source) for entry in entries))


def view_association(entries: Iterable[Entry]) -> float:
    """Return Cramér's V of class and view, in [0, 1], of the images whose view is stated."""
    return _cramers_v(Counter((entry.label, entry.view) for entry in entries if entry.view))


def _cramers_v(pairs: Counter[tuple[str, str]]) -> float:
    """Return the association of two properties, in [0, 1] (Cramér 1946, chapter 21)."""
    rows = sorted({row for row, _ in pairs})
    columns = sorted({column for _, column in pairs})
    if len(rows) < 2 or len(columns) < 2:
        return 0.0
    table = np.array([[pairs[row, column] for column in columns] for row in rows], float)
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    chi_squared = ((table - expected) ** 2 / expected).sum()
    return float(np.sqrt(chi_squared / (table.sum() * (min(table.shape) - 1))))


def _view_warnings(manifest: Manifest) -> list[str]:
    """Return a warning if views differ by class, or are stated only for some classes."""
    stated = [entry for entry in manifest.labelled if entry.view]
    without = sorted(set(manifest.classes) - {entry.label for entry in stated})
    found = []
    if (association := view_association(stated)) >= _CONFOUNDED:
        listed = "; ".join(
            f"{label}: " + ", ".join(f"{view} {number}" for view, number in views.items())
            for label, views in _by_class(stated, "view").items()
        )
        found.append(
            f"Views differ by class (Cramér's V {association:.2f}; {listed}): the network may "
            "recognise the view instead of the disease."
        )
    if stated and without:
        found.append(
            f"The view is stated for {len(stated)} of {len(manifest.labelled)} images and for none "
            f"of {', '.join(without)}: it is unknown whether views differ by class."
        )
    return found


def _appearance_warnings(audit: Audit) -> list[str]:
    sentences = []
    if unusable := sum(audit.unusable.values()):
        sentences.append(
            f"{unusable} of {audit.images + _total(audit.controls)} images could not be audited ("
            + ", ".join(f"{reason} {number}" for reason, number in audit.unusable.items())
            + "): duplicates among them are not detected."
        )
    near = audit.near_duplicates_across_splits
    if near.count:
        sentences.append(
            f"{near.images} images are near duplicates of an image in another split "
            f"({near.count} pairs): accuracy is optimistic."
        )
    if near.of_controls:
        sentences.append(
            "Near duplicates of an image of a class among the controls, which may show that "
            f"class: {near.of_controls}."
        )
    return sentences + shortcut_warnings(audit.shortcuts)


def _by_class(entries: Iterable[Entry], field: str) -> dict[str, dict[str, int]]:
    return _counted((entry.label, getattr(entry, field)) for entry in entries)


def _total(counts: dict[str, dict[str, int]]) -> int:
    return sum(number for by_source in counts.values() for number in by_source.values())


def _counted(pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for name, value in pairs:
        counts[name][value or _NOT_STATED] += 1
    return {label: dict(sorted(values.items())) for label, values in sorted(counts.items())}


def _duplicates_across_splits(entries: Iterable[Entry]) -> int:
    splits = defaultdict(set)
    for entry in entries:
        if entry.sha256:
            splits[entry.sha256].add(entry.split)
    return sum(len(of_file) > 1 for of_file in splits.values())
