"""Protocol ``cxr-d``: CXR B, adults among its normal lungs, and X-rays of none of its classes.

In CXR B, every adult has COVID-19 and every other image shows a child: a network need not look for
the disease. Here normal lungs are those of adults too.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from cxredge.data.controls import apart_from_training
from cxredge.data.left_out import LeftOut
from cxredge.data.manifest import Entry
from cxredge.data.splits import group_whole, split_fractions
from cxredge.errors import DataError
from cxredge.metrics.controls import OTHER_CLASS
from cxredge.vocabulary import SplitBy

NO_FINDING = "adult no finding"
OTHER_KINDS = ("adult pneumonia", "other finding")
"""Kinds of controls that may be trained on as ``other``. What kind of pneumonia an adult has is not
known."""

ADULT_FRACTIONS = (0.5, 0.125, 0.375)
"""Shares of the adults without a finding in train, val and test: about as many to train on as CXR B
has of children, and enough in test for an interval of few percent."""
OTHER_FRACTIONS = (0.8, 0.2, 0.0)


def add_adults(
    entries: Sequence[Entry], controls: Sequence[Entry], other_share: float, seed: int
) -> tuple[list[Entry], list[Entry], LeftOut]:
    """Add adults without a finding to ``normal``, and a share of other X-rays as ``other``.

    Args:
        entries: The images of CXR B, with their splits.
        controls: X-rays that show none of its classes, among them adults without a finding.
        other_share: Share of the patients of each of ``OTHER_KINDS`` who are trained on as
            ``other``; at 0 there is no such class. The other patients stay controls.
        seed: The same seed draws the same patients.

    Returns:
        The images of the classes, the controls, and controls left out because their patient is in
        train or val.

    Raises:
        DataError: No adult without a finding is among the controls.
    """
    normal = [replace(e, label="normal") for e in controls if e.finding == NO_FINDING]
    if not normal:
        raise DataError(
            "cxr-d needs adults without a finding; none was found.",
            "State 'No Finding' in the column finding of the adults' metadata.csv.",
        )
    placed = [*entries, *split_fractions(normal, SplitBy.PATIENT, seed, ADULT_FRACTIONS)]
    rest = [entry for entry in controls if entry.finding != NO_FINDING]
    # Someone whose image is tested as another class must not be known as none of them.
    known = {entry.patient for entry in placed}
    other = [
        replace(entry, label=OTHER_CLASS)
        for kind in OTHER_KINDS
        for entry in _share([e for e in rest if e.finding == kind], known, other_share, seed)
    ]
    placed += split_fractions(other, SplitBy.PATIENT, seed, OTHER_FRACTIONS)
    used = {entry.sha256 for entry in other}
    left, seen = apart_from_training([e for e in rest if e.sha256 not in used], placed)
    return placed, left, seen


def _share(found: Sequence[Entry], known: set[str], share: float, seed: int) -> list[Entry]:
    """Return the images of a share of the patients, drawn among those who are not known."""
    if not found or not share:
        return []
    rng = random.Random(f"{seed}/cxr-d/{found[0].finding}")  # noqa: S311 - not cryptographic
    ordered = sorted(found, key=lambda entry: entry.sha256)
    groups = group_whole(ordered, SplitBy.PATIENT)
    wanted = round(share * len(groups))
    unknown = [group for group in groups if group[0].patient not in known]
    rng.shuffle(unknown)
    return [entry for group in unknown[:wanted] for entry in group]
