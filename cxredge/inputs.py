"""The images that a command is given, in an order that is always the same."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from cxredge.data.images import is_image_name
from cxredge.errors import DataError


def walk_images(paths: Sequence[Path], skipped: Counter[str]) -> Iterator[Path]:
    """Yield every input: files as given, folders recursively by sorted name.

    Only one folder's listing is held at a time, whatever the number of images.

    Args:
        paths: Files and folders.
        skipped: Counts by extension the files in folders that are not PNG or JPEG by name.
    """
    for path in paths:
        if path.is_dir():
            yield from _walk(path, skipped, frozenset())
        else:
            yield path


def check_inputs(paths: Sequence[Path]) -> None:
    """Raise DataError unless every path exists and there is at least one image."""
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist.", "Give image files or folders of images.")
    if next(walk_images(paths, Counter()), None) is None:
        shown = ", ".join(str(path) for path in paths)
        raise DataError(
            f"No images in {shown}: PNG and JPEG files are read (.png, .jpg, .jpeg).",
            "Give image files or folders of images.",
        )


def _walk(folder: Path, skipped: Counter[str], above: frozenset[tuple[int, int]]) -> Iterator[Path]:
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in above:  # a link back to a folder that is being walked
        return
    with os.scandir(folder) as entries:
        found = sorted((entry.name, entry.is_dir()) for entry in entries)
    for name, is_folder in found:
        if is_folder:
            yield from _walk(folder / name, skipped, above | {identity})
        elif is_image_name(name):
            yield folder / name
        else:
            skipped[Path(name).suffix.lower() or name] += 1
