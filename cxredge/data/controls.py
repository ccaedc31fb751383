"""Controls: X-rays of the sources of a set that show none of its classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from cxredge.data.appearance import hash_images
from cxredge.data.duplicates import DisjointSets
from cxredge.data.left_out import LeftOut
from cxredge.data.loading import check_samples
from cxredge.data.manifest import Entry, Manifest, Sample
from cxredge.data.perceptual_hash import Hashes, near_pairs
from cxredge.metrics.controls import ControlImages
from cxredge.vocabulary import Split

SEEN_PATIENT = "patient_in_train_or_val"
"""Reason for a control that is left out because a training or validation image shows its patient:
what a network makes of it says little about other patients."""


def choose_controls(
    candidates: Sequence[Sample],
    usable: Sequence[Entry],
    hashes: Hashes,
    chosen: Sequence[Entry],
    on_image: Callable[[], None] = lambda: None,
) -> tuple[list[Entry], LeftOut]:
    """Return the controls of a set.

    Args:
        candidates: Possible controls.
        usable: All readable images that show a class, whether or not they were drawn.
        hashes: Their perceptual hashes, uint8 (N, 69).
        chosen: The images of the splits.
        on_image: Called after each image is checked, and again after it is compared.

    Returns:
        The controls; and those left out by reason: the values of ``ImageProblem``, ``duplicate``,
        ``near_duplicate`` (of an image of a class, or of another control), and
        ``patient_in_train_or_val``.
    """
    readable, left_out = check_samples(candidates, on_image)
    files = {entry.sha256 for entry in usable}
    others = [entry for entry in readable if entry.sha256 not in files]
    for entry in readable:
        if entry.sha256 in files:
            left_out.leave(entry.path, "duplicate")
    listed = [*usable, *others]
    people, copies = _compare(listed, np.concatenate([hashes, hash_images(others, on_image)]))
    seen = {people.of(entry.patient) for entry in chosen if _is_seen(entry)}
    controls = []
    for number, entry in enumerate(others, len(usable)):
        if number in copies:
            left_out.leave(entry.path, "near_duplicate")
        elif people.of(entry.patient) in seen:
            left_out.leave(entry.path, SEEN_PATIENT)
        else:
            controls.append(replace(entry, split=Split.CONTROL))
    return controls, left_out


def apart_from_training(
    controls: Sequence[Entry], chosen: Sequence[Entry]
) -> tuple[list[Entry], LeftOut]:
    """Return controls whose patients are in neither train nor val, and the other ones."""
    seen, left_out = {entry.patient for entry in chosen if _is_seen(entry)}, LeftOut()
    kept = []
    for entry in controls:
        if entry.patient in seen:
            left_out.leave(entry.path, SEEN_PATIENT)
        else:
            kept.append(replace(entry, split=Split.CONTROL))
    return kept, left_out


def control_images(manifest: Manifest) -> ControlImages:
    """Return what a manifest states of its controls and of the sources of its classes."""
    class_sources: dict[str, set[str]] = defaultdict(set)
    for entry in manifest.labelled:
        class_sources[entry.label].add(entry.source)
    return ControlImages(
        kinds=[entry.finding for entry in manifest.controls],
        sources=[entry.source for entry in manifest.controls],
        class_sources=class_sources,
    )


def _is_seen(entry: Entry) -> bool:
    return entry.split in (Split.TRAIN, Split.VAL)


def _compare(entries: Sequence[Entry], hashes: Hashes) -> tuple[DisjointSets, set[int]]:
    """Return the patients who share an X-ray, and the indices of controls that show an earlier one.

    As in :func:`~cxredge.data.duplicates.keep_one_of_each`, an X-ray under the labels of two
    classes joins no patients.
    """
    people, copies = DisjointSets(), set()
    for pairs in near_pairs(hashes):
        for a, b in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
            if entries[b].label not in ("", entries[a].label):
                continue
            people.join(entries[a].patient, entries[b].patient)
            if not entries[b].label:
                copies.add(b)
    return people, copies
