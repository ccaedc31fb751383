"""The inputs of a prediction: local files, folders and archives, remote storage, and lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from cxredge.data.images import is_dicom_index, is_image_name
from cxredge.data.inputs import check_first, check_inputs, extension_of, walk_images
from cxredge.data.path_list import PathList
from cxredge.data.remote import (
    RemoteFile,
    check_readable,
    is_remote_folder,
    is_url,
    list_remote,
    read_remote,
    size_of_remote,
)
from cxredge.data.sources import HEAD_BYTES, Source, is_picture
from cxredge.errors import ImageError

Place = Path | RemoteFile | PathList
"""Stands for one image or many: a file, folder or zip archive, such an address, or a list."""


def place_of(text: str) -> Place:
    """Return an argument of the command line as an address or a path."""
    return RemoteFile(text) if is_url(text) else Path(text)


def walk_places(places: Sequence[Place], skipped: Counter[str]) -> Iterator[Source]:
    """Yield every image as :func:`cxredge.data.inputs.walk_images` does, in constant memory.

    Args:
        places: What to walk. A line of a list is one image: a folder or archive in a list is not
            opened, so that a list of a million lines has a million rows.
        skipped: Counts, by extension, the files in folders that are no images.
    """
    for place in places:
        if isinstance(place, PathList):
            yield from place.images()
        elif isinstance(place, RemoteFile):
            yield from _walk_remote(place, skipped)
        else:
            yield from walk_images([place], skipped)


def check_places(places: Sequence[Place]) -> None:
    """Check that the places can be read, that there is an image, and what the first one needs.

    Raises:
        DataError: A path does not exist, a storage cannot be used, or there is no image.
        DependencyError: A package for the storage or for the first image is not installed.
    """
    for place in places:
        if isinstance(place, RemoteFile):
            check_readable(place)
    local = [place for place in places if isinstance(place, Path)]
    if local:
        check_inputs(local)
    others = [place for place in places if not isinstance(place, Path)]
    if others:
        check_first(next(walk_places(others, Counter()), None), others)


def _walk_remote(place: RemoteFile, skipped: Counter[str]) -> Iterator[Source]:
    """Walk a remote folder with a stack of listings, as local folders are walked."""
    if not is_remote_folder(place):
        yield place
        return
    stack: list[Iterator[tuple[RemoteFile, bool]]] = [iter([(place, True)])]
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
            continue
        found, is_folder = entry
        if is_folder:
            try:
                stack.append(iter(list_remote(found)))
            except ImageError:
                yield found  # loading it reports the reason
        elif _is_remote_image(found):
            yield found
        else:
            skipped[extension_of(found.name)] += 1


def _is_remote_image(file: RemoteFile) -> bool:
    """Return whether a file is an image by its name or content; one without an extension is read.

    An archive counts as one, so that it has a row with the reason.
    """
    name = file.name
    if name.startswith(".") or is_dicom_index(name):
        return False
    if is_image_name(name) or name.lower().endswith(".zip"):
        return True
    try:
        return is_picture(read_remote(file, min(HEAD_BYTES, size_of_remote(file))))
    except ImageError:
        return True  # loading it reports the reason


def local_roots(places: Sequence[Place]) -> list[Path]:
    """Return the local paths that another machine must see: those given, and a list's first."""
    listed = (next(place.images(), None) for place in places if isinstance(place, PathList))
    return [place for place in chain(places, listed) if isinstance(place, Path)]
