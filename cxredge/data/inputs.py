"""The input images of a command, in a reproducible order."""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from cxredge.data.images import is_dicom_index, is_image_file, is_image_name
from cxredge.data.sources import HEAD_BYTES, ImageSource, Source, is_dicom_source, is_picture
from cxredge.data.zip_members import ZipMember, head_of, is_archive_name, list_members
from cxredge.errors import DataError, DependencyError


class Skipped(Counter[str]):
    """Number of files that are not images, by extension, and the files themselves.

    A plain counter in its place does not grow with the number of files.
    """

    def __init__(self) -> None:
        super().__init__()
        self.files: list[ImageSource] = []


def walk_images(paths: Sequence[Path], skipped: Counter[str]) -> Iterator[ImageSource]:
    """Yield every input: files as given, folders and zip archives recursively by sorted name.

    Inputs that cannot be loaded are yielded too, so that each has a row with the reason: a folder
    that cannot be listed, a damaged archive, an encrypted member, an archive inside an archive.
    Memory does not grow with the number of images: only the listings of the folders above the
    current image are held. A folder that is reachable through several links is walked once.

    Args:
        paths: Files, folders and archives.
        skipped: Counts, by extension, the files in folders and archives that are images neither by
            name nor by content.
    """
    for path in paths:
        if path.is_dir():
            yield from _walk(path, skipped)
        elif is_archive_name(path.name):
            yield from _unpack(path, skipped)
        else:
            yield path


def check_inputs(paths: Sequence[Path]) -> None:
    """Check that the paths exist, that there is an image, and that the first one can be decoded.

    Raises:
        DataError: A path does not exist, or no path contains an image.
        DependencyError: The first image is DICOM, and the extra for it is not installed.
    """
    for path in paths:
        if not path.exists():
            raise DataError(f"{path} does not exist.", "Give images, or folders or zips of them.")
    check_first(next(walk_images(paths, Counter()), None), paths)


def check_first(first: Source | None, places: Sequence[object]) -> None:
    """Check that there is a first image and that its format can be decoded.

    Args:
        first: The first image; None if there is none.
        places: Where it was looked for, for messages.

    Raises:
        DataError: There is none.
        DependencyError: It is DICOM, and the extra for it is not installed.
    """
    if first is None:
        shown = ", ".join(str(place) for place in places)
        raise DataError(
            f"No images in {shown}; supported are PNG and JPEG (.png, .jpg, .jpeg) and DICOM.",
            "Give images, or folders or zips of them.",
        )
    if find_spec("pydicom") is None and is_dicom_source(first):
        raise DependencyError(
            f"{first} is DICOM; reading it requires the extra 'dicom'.",
            "pip install 'cxredge[dicom]'",
        )


def _walk(root: Path, skipped: Counter[str]) -> Iterator[ImageSource]:
    """Walk a folder with a stack of listings: folders may be nested deeper than Python's calls."""
    seen: set[tuple[int, int]] = set()
    stack: list[Iterator[tuple[Path, bool]]] = [iter([(root, True)])]
    while stack:
        path, is_folder = next(stack[-1], (None, False))
        if path is None:
            stack.pop()
        elif is_folder:
            try:
                stack.append(_list_folder(path, seen))
            except OSError:
                yield path  # loading it reports the reason
        elif is_archive_name(path.name):
            yield from _unpack(path, skipped)
        elif is_image_file(path):
            yield path
        else:
            _skip(path, skipped)


def _list_folder(folder: Path, seen: set[tuple[int, int]]) -> Iterator[tuple[Path, bool]]:
    status = folder.stat()
    identity = (status.st_dev, status.st_ino)
    if identity in seen:
        return iter(())
    seen.add(identity)
    with os.scandir(folder) as entries:
        found = sorted((entry.name, _is_folder(entry)) for entry in entries)
    return ((folder / name, is_folder) for name, is_folder in found)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _unpack(archive: Path, skipped: Counter[str]) -> Iterator[ImageSource]:
    try:
        members = list_members(archive)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        yield archive  # loading it reports the reason
        return
    for member in members:
        if _is_image_member(member):
            yield member
        else:
            _skip(member, skipped)


def _skip(source: ImageSource, skipped: Counter[str]) -> None:
    skipped[extension_of(source.name)] += 1
    if isinstance(skipped, Skipped):
        skipped.files.append(source)


def _is_image_member(member: ZipMember) -> bool:
    name = member.name.rsplit("/", 1)[-1]
    if name.startswith(".") or is_dicom_index(name):
        return False
    if is_image_name(name) or is_archive_name(name):
        return True
    return is_picture(head_of(member, HEAD_BYTES))


def extension_of(name: str) -> str:
    """Return the extension of a file name, or the name if it has none."""
    name = name.rsplit("/", 1)[-1]
    return Path(name).suffix.lower() or name
