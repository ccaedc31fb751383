"""Reader for the layout of Kermany's paediatric pneumonia set: train/ and test/."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from cxredge.data.images import list_images
from cxredge.data.inputs import walk_images
from cxredge.data.left_out import LeftOut
from cxredge.data.manifest import Sample
from cxredge.errors import DataError

_PNEUMONIA = re.compile(r"person(?P<number>\d+)_(?P<kind>bacteria|virus)_\d+")
# One or two numbers follow the patient's: IM-0011-0001.jpeg and IM-0011-0001-0001.jpeg.
_NORMAL = re.compile(r"(NORMAL2-)?IM-\d+")
_LABELS = {"bacteria": "bacterial", "virus": "viral"}
_FOLDERS = ("NORMAL", "PNEUMONIA")


def read_kermany(directory: Path) -> tuple[list[Sample], LeftOut]:
    """Return the X-rays of normal lungs, bacterial and viral pneumonia.

    The train and test folders of the set are joined, because the protocols split by patient again.
    A pneumonia patient is the number after ``person``, separately for bacteria and viruses. A
    normal patient is ``IM-`` with the first number, which joins a few more files than the name up
    to the last dash.

    Returns:
        Samples labelled ``bacterial``, ``viral`` or ``normal``; and the files left out by reason:
        ``unknown_name``, ``unknown_folder``.

    Raises:
        DataError: The folder has another layout.
    """
    folders = [directory / part / kind for part in ("train", "val", "test") for kind in _FOLDERS]
    present = [folder for folder in folders if folder.is_dir()]
    if not present:
        raise DataError(
            f"{directory} has no train/NORMAL or train/PNEUMONIA folder.",
            "Give the folder that contains train/ and test/.",
        )
    samples: list[Sample] = []
    dropped = LeftOut()
    for folder in present:
        for path in list_images(folder):
            sample = _sample(path, folder.name)
            if sample is None:
                dropped.leave(path, "unknown_name")
            else:
                samples.append(sample)
    read = {sample.path for sample in samples} | {path for path, _ in dropped.files}
    for found in walk_images([directory], Counter()):
        if found not in read:
            dropped.leave(found, "unknown_folder")
    return samples, dropped


def _sample(path: Path, folder: str) -> Sample | None:
    if folder == "NORMAL":
        match = _NORMAL.match(path.name)
        patient = match[0] if match else path.stem.rsplit("-", 1)[0]
        return Sample(path, "normal", f"kermany-{patient}", "kermany")
    match = _PNEUMONIA.match(path.name)
    if match is None:
        return None
    patient = f"kermany-{match['kind']}-{match['number']}"
    return Sample(path, _LABELS[match["kind"]], patient, "kermany")
