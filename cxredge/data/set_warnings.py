"""Warnings about the patients and the splits of a manifest."""

from __future__ import annotations

from cxredge.data.manifest import Manifest
from cxredge.metrics.controls import OTHER_CLASS
from cxredge.vocabulary import Split


def split_warnings(manifest: Manifest) -> list[str]:
    """Return a sentence for images without a known patient, and for classes missing in a split."""
    return patient_warnings(manifest) + class_warnings(manifest)


def patient_warnings(manifest: Manifest) -> list[str]:
    """Return a sentence if the patients of some images are not known."""
    unknown = sum(manifest.without_patient().values())
    if not unknown:
        return []
    return [
        f"The patient of {unknown} of {len(manifest.labelled)} images is not known; each counts as "
        "a patient of its own. If patients have several images, they may be in several splits: "
        "accuracy is optimistic. Name patients by 'cxredge data folder --patient' or "
        "'--patient-from'."
    ]


def class_warnings(manifest: Manifest) -> list[str]:
    """Return a sentence for each split that lacks classes."""
    found = []
    for name, counts in manifest.counts().items():
        missing = [label for label in manifest.classes if label not in counts]
        if OTHER_CLASS in missing and name == Split.TEST.value and manifest.controls:
            missing.remove(OTHER_CLASS)  # controls show what becomes of such X-rays
        if missing and len(manifest.classes) > 1:
            found.append(f"No '{name}' image is of {', '.join(missing)}: {_EFFECT[Split(name)]}.")
    return found


_EFFECT = {
    Split.TRAIN: "the network cannot learn it",
    Split.VAL: "neither the epoch nor the operating threshold is chosen with it",
    Split.TEST: "its sensitivity cannot be measured",
}
