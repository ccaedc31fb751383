"""Answers of a bundle by class, source and other properties, and within one source."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cxredge.data.manifest import Entry
from cxredge.metrics.bootstrap import Bools, bootstrap
from cxredge.metrics.classification import Floats, Ints, auroc, wilson
from cxredge.results.answered import (
    Answered,
    CalledBySource,
    Group,
    Groups,
    Refusals,
    WithinSource,
)

NOT_STATED = "not stated"
OTHER_CLASSES = "other classes"
_AGE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_PER_YEAR = {"m": 12.0, "w": 52.2, "d": 365.25}
_BANDS = ((18, "0-17"), (40, "18-39"), (60, "40-59"), (80, "60-79"), (math.inf, "80 and over"))
_SEXES = {"m": "M", "male": "M", "f": "F", "female": "F"}


@dataclass(frozen=True)
class Seen:
    """Images that a bundle has seen.

    Attributes:
        entries: The N rows of the manifest.
        labels: int (N,), index of the class; -1 for controls.
        probabilities: float (N, classes).
        refused: bool (N,), images that are refused as unfamiliar; None if the bundle refuses none.
        refused_fp32: Those that FP32 refuses, likewise.
    """

    entries: Sequence[Entry]
    labels: Ints
    probabilities: Floats
    refused: Bools | None
    refused_fp32: Bools | None

    @property
    def right(self) -> Bools:
        """Whether the most probable class of each image is its label, bool (N,)."""
        found: Bools = self.probabilities.argmax(axis=1) == self.labels
        return found

    @property
    def away(self) -> Bools:
        """Whether each image is refused, bool (N,); False if the bundle refuses none."""
        none = np.zeros(len(self.entries), dtype=bool)
        return none if self.refused is None else self.refused


def answered(seen: Seen, classes: Sequence[str]) -> Answered | None:
    """Return what is answered; None if the bundle refuses no image as unfamiliar."""
    if seen.refused is None or seen.refused_fp32 is None:
        return None
    images, refused = len(seen.entries), int(seen.refused.sum())
    alike = int((seen.refused == seen.refused_fp32).sum())
    right, left = int((seen.right & ~seen.refused).sum()), images - refused
    by_class = [classes[label] for label in seen.labels]
    return Answered(
        refused=refused,
        refused_ci95=wilson(refused, images),
        refused_fp32=int(seen.refused_fp32.sum()),
        alike=alike,
        alike_ci95=wilson(alike, images),
        right=right,
        accuracy_answered=right / left if left else None,
        accuracy_answered_ci95=wilson(right, left) if left else None,
        by_class=_refusals(by_class, seen.refused),
        by_source=_refusals([entry.source or NOT_STATED for entry in seen.entries], seen.refused),
    )


def by_group(seen: Seen, classes: Sequence[str]) -> Groups:
    """Return the images by source, sex, age band and view; each only if an image states it."""
    found: dict[str, dict[str, Group]] = {}
    for name, values in _properties(seen.entries).items():
        if set(values) == {NOT_STATED}:
            continue
        array = np.array(values, dtype=np.str_)
        found[name] = {value: _group(seen, array == value, classes) for value in _ordered(values)}
    return found


def called_by_source(seen: Seen, classes: Sequence[str]) -> tuple[CalledBySource, ...]:
    """Return what the images of each class and source are called, in the order of the classes."""
    decisions = seen.probabilities.argmax(axis=1)
    called: dict[tuple[int, str], Counter[int]] = defaultdict(Counter)
    for entry, label, decision in zip(seen.entries, seen.labels, decisions, strict=True):
        called[int(label), entry.source or NOT_STATED][int(decision)] += 1
    return tuple(
        CalledBySource(
            class_name=classes[label],
            source=source,
            called={name: counts[index] for index, name in enumerate(classes)},
        )
        for (label, source), counts in sorted(called.items())
    )


def within_sources(
    seen: Seen, controls: Seen | None, classes: Sequence[str]
) -> tuple[WithinSource, ...]:
    """Return how well each class is told from other images of its own source.

    Args:
        seen: Images of the classes.
        controls: Controls; None without any.
        classes: Names of the classes.
    """
    sources = np.array([entry.source for entry in seen.entries], dtype=np.str_)
    rows = []
    for source in sorted({*sources.tolist()} - {""}):
        here = sources == source
        for index, name in enumerate(classes):
            positive = here & (seen.labels == index)
            if not positive.any():
                continue
            others = here & ~positive
            if others.any():
                rows.append(_told(source, name, OTHER_CLASSES, index, seen, positive, seen, others))
            for kind, chosen in _kinds(controls, source):
                if controls is not None:
                    rows.append(_told(source, name, kind, index, seen, positive, controls, chosen))
    return tuple(rows)


def age_band(age: str) -> str:
    """Return the band of an age: years, or as in DICOM a number with Y, M, W or D."""
    match = _AGE.match(age)
    if match is None:
        return NOT_STATED
    years = float(match[1]) / _PER_YEAR.get(match[2][:1].lower(), 1.0)
    return next(band for limit, band in _BANDS if years < limit)


def _told(
    source: str,
    name: str,
    against: str,
    index: int,
    seen: Seen,
    positive: Bools,
    other: Seen,
    negative: Bools,
) -> WithinSource:
    scores = np.concatenate(
        [seen.probabilities[positive, index], other.probabilities[negative, index]]
    )
    truth = np.repeat([True, False], [int(positive.sum()), int(negative.sum())])
    patients = [e.patient for e, one in zip(seen.entries, positive, strict=True) if one]
    patients += [e.patient for e, one in zip(other.entries, negative, strict=True) if one]
    low, high = bootstrap(lambda drawn: auroc(scores[drawn], truth[drawn]), patients)
    return WithinSource(
        source=source,
        class_name=name,
        against=against,
        images=int(positive.sum()),
        others=int(negative.sum()),
        auroc=auroc(scores, truth),
        auroc_ci95=(None if math.isnan(low) else low, None if math.isnan(high) else high),
    )


def _kinds(controls: Seen | None, source: str) -> Iterator[tuple[str, Bools]]:
    """Yield the kinds of controls of a source, each with the images of it."""
    entries = controls.entries if controls else ()
    for kind in sorted({entry.finding for entry in entries if entry.source == source}):
        of_kind = [entry.finding == kind and entry.source == source for entry in entries]
        yield kind, np.array(of_kind, dtype=bool)


def _properties(entries: Sequence[Entry]) -> Mapping[str, list[str]]:
    return {
        "source": [entry.source or NOT_STATED for entry in entries],
        "sex": [_SEXES.get(e.sex.strip().lower(), e.sex.strip()) or NOT_STATED for e in entries],
        "age": [age_band(entry.age) for entry in entries],
        "view": [entry.view or NOT_STATED for entry in entries],
    }


def _ordered(values: Sequence[str]) -> list[str]:
    """Return the values that occur, sorted, the unknown ones last."""
    return sorted(set(values), key=lambda value: (value == NOT_STATED, value))


def _group(seen: Seen, chosen: Bools, classes: Sequence[str]) -> Group:
    images, right = int(chosen.sum()), int((seen.right & chosen).sum())
    members = [entry for entry, one in zip(seen.entries, chosen, strict=True) if one]
    labels = Counter(classes[label] for label in seen.labels[chosen])
    return Group(
        images=images,
        patients=len({entry.patient for entry in members}),
        classes=dict(sorted(labels.items())),
        right=right,
        accuracy=right / images,
        accuracy_ci95=wilson(right, images),
        refused=int((seen.away & chosen).sum()),
    )


def _refusals(names: Sequence[str], refused: Bools) -> dict[str, Refusals]:
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, away in zip(names, refused.tolist(), strict=True):
        counts[name][0] += 1
        counts[name][1] += away
    return {n: Refusals(images=total, refused=away) for n, (total, away) in sorted(counts.items())}
