"""Protocol ``kermany``: the official split of Kermany's set, whose accuracy others publish.

Of the official test folder, only second copies of a file are left out (6 of 624), so that figures
can be compared. Training images of a patient in the test folder are left out; none were found in
the set that was tried (5840 files, scaled to 224 pixels).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cxredge.data.duplicates import DisjointSets
from cxredge.data.left_out import LeftOut
from cxredge.data.manifest import Entry
from cxredge.data.perceptual_hash import Hashes, near_pairs
from cxredge.data.splits import carve_validation
from cxredge.errors import DataError
from cxredge.vocabulary import Split, SplitBy

TEST_PATIENT = "patient_in_test"
"""Reason for a training image that is left out because the test folder shows its patient."""
_TEST_FOLDER = "test"


def is_official_test(path: Path, directory: Path) -> bool:
    """Return whether an image is in the official test folder of the set in ``directory``."""
    return path.relative_to(directory).parts[0] == _TEST_FOLDER


def split_officially(
    entries: Sequence[Entry], hashes: Hashes, directory: Path, seed: int
) -> tuple[list[Entry], LeftOut, int]:
    """Split readable images as their folders do; a fifth of the training images validates.

    Args:
        entries: All readable images of the set.
        hashes: Their perceptual hashes, uint8 (N, 69).
        directory: Folder of the set.
        seed: The same seed draws the same validation patients.

    Returns:
        The entries, with patients who share an X-ray joined; the training images that are left
        out: ``near_duplicate``, ``patient_in_test``; and the number of patients joined.

    Raises:
        DataError: There is no test or no train folder.
    """
    is_test = [is_official_test(entry.path, directory) for entry in entries]
    if all(is_test) or not any(is_test):
        raise DataError(
            f"{directory} has no {'train' if all(is_test) else _TEST_FOLDER} folder, which the "
            "official split needs.",
            "Give the folder that contains train/ and test/.",
        )
    files, people = DisjointSets(), DisjointSets()
    for pairs in near_pairs(hashes):
        for a, b in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
            # Nothing shows which of two labels is right, so that both are kept.
            if entries[a].label == entries[b].label:
                files.join(a, b)
            people.join(entries[a].patient, entries[b].patient)
    tested = {people.of(e.patient) for e, test in zip(entries, is_test, strict=True) if test}
    kept, left_out = [], LeftOut()
    for number, (entry, test) in enumerate(zip(entries, is_test, strict=True)):
        patient = people.of(entry.patient)
        if test:
            kept.append(replace(entry, patient=patient, split=Split.TEST))
        elif patient in tested:
            left_out.leave(entry.path, TEST_PATIENT)
        elif files.of(number) != number:
            left_out.leave(entry.path, "near_duplicate")
        else:
            kept.append(replace(entry, patient=patient, split=Split.TRAIN))
    names = {entry.patient for entry in entries}
    joined = len(names) - len({people.of(name) for name in names})
    return carve_validation(kept, SplitBy.PATIENT, seed), left_out, joined
