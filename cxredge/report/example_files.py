"""X-rays of a manifest or a folder to choose examples from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from cxredge.data.images import list_images
from cxredge.data.in_memory import ImageInput
from cxredge.data.manifest import Entry, read_manifest
from cxredge.errors import CxredgeError
from cxredge.vocabulary import Split

_NO_CLASS = "no class"
_SHOWN_SPLITS = (Split.TEST, Split.CONTROL)


@dataclass(frozen=True)
class Candidate:
    """An X-ray that may be shown as an example.

    Attributes:
        image: Where it is.
        truth: Its class, a value that no class has for a control, or empty if it is not known.
        shown: The class or the kind of the control in words.
    """

    image: ImageInput
    truth: str
    shown: str

    @property
    def is_control(self) -> bool:
        """Whether it shows none of the classes."""
        return self.truth == _NO_CLASS


def candidates(source: Path, classes: Sequence[str]) -> list[Candidate]:
    """Return the X-rays of a manifest or a folder, from each class and kind in turn.

    Of a manifest, the splits ``test`` and ``control`` are used. In a folder, the name of a file's
    folder is its class if there is such a class; other names are not shown, as they may name
    people.

    Raises:
        CxredgeError: It does not exist, or holds no X-rays.
    """
    check_source(source)
    groups: dict[str, list[Candidate]] = defaultdict(list)
    if source.is_dir():
        for path in _images(source):
            truth = path.parent.name if path.parent.name in classes else ""
            groups[truth].append(Candidate(path, truth, truth))
    else:
        for entry in read_manifest(source).entries:
            if entry.split in _SHOWN_SPLITS:
                groups[f"{entry.split.value} {entry.label or entry.finding}"].append(_of(entry))
    if not groups:
        raise CxredgeError(
            f"{source} holds no X-rays to show.",
            "Give --examples a manifest with test images or controls, or a folder of X-rays.",
        )
    return [one for turn in zip_longest(*groups.values()) for one in turn if one is not None]


def check_source(source: Path) -> None:
    """Raise CxredgeError unless a manifest or folder of examples exists."""
    if not source.exists():
        raise CxredgeError(f"{source} does not exist.", "Give --examples a manifest or a folder.")


def _images(folder: Path) -> list[Path]:
    """Return the images in a folder and the folders below it."""
    folders = [folder, *sorted(path for path in folder.rglob("*") if path.is_dir())]
    return [path for one in folders for path in list_images(one)]


def _of(entry: Entry) -> Candidate:
    if entry.split is Split.CONTROL:
        return Candidate(entry.path, _NO_CLASS, f"control, {entry.finding}")
    return Candidate(entry.path, entry.label, entry.label)
