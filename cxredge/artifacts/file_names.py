"""Files that a card lists: their names, and the comparison with their hashes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from cxredge.artifacts.git_lfs import check_fetched
from cxredge.artifacts.hashing import sha256_of_file
from cxredge.errors import ArtifactError

MAX_FILES = 1000
"""Maximum number of files in an artifact; the largest has about a dozen."""
MAX_BYTES = 4_000_000_000
"""Maximum size of an artifact; the largest network of the zoo has 0.4 GB in FP32."""
_MAX_NAME_BYTES = 255
_REMEDY = "Copy or build the artifact again."


def check_names(names: Collection[str], origin: Path) -> None:
    """Refuse names that could lead out of the artifact's folder or that no tool can print.

    Args:
        names: Paths relative to the card, with ``/`` between folders.
        origin: The card's file, for messages.

    Raises:
        ArtifactError: There are too many, or one is not a plain relative path.
    """
    if len(names) > MAX_FILES:
        raise ArtifactError(
            f"{origin} lists {len(names)} files; an artifact has at most {MAX_FILES}.", _REMEDY
        )
    for name in names:
        path = PurePosixPath(name)
        plain = path.parts and path.as_posix() == name and not path.is_absolute()
        if not plain or ".." in path.parts or "\\" in name or not name.isprintable():
            raise ArtifactError(
                f"{origin} names a file outside its folder: {_short(name)}, which is not a valid "
                "file name.",
                _REMEDY,
            )
        if any(len(part.encode()) > _MAX_NAME_BYTES for part in path.parts):
            raise ArtifactError(
                f"{origin} lists the name {_short(name)} of {len(name)} characters; at most "
                f"{_MAX_NAME_BYTES} bytes are possible.",
                _REMEDY,
            )


def compare_files(folder: Path, files: Mapping[str, str], origin: Path) -> None:
    """Compare every file of an artifact with its hash.

    Args:
        folder: The artifact's folder.
        files: SHA-256 by path relative to the folder.
        origin: The card's file, for messages.

    Raises:
        ArtifactError: A name is not valid, a file is missing or differs, is no regular file or
            leads out of the folder, or all of them are too large.
    """
    check_names(files, origin)
    inside, total = folder.resolve(), 0
    for name in files:
        path = folder / name
        if not _leads_inside(path, inside):
            raise ArtifactError(f"{origin} names a file outside its folder: {name}.", _REMEDY)
        if not path.is_file():
            problem = "is not a regular file" if path.exists() else "is missing"
            raise ArtifactError(f"{path} {problem}.", _REMEDY)
        total += path.stat().st_size
    if total > MAX_BYTES:
        raise ArtifactError(
            f"The files of {folder} have {total / 1e9:.1f} GB; an artifact has at most "
            f"{MAX_BYTES / 1e9:.0f} GB.",
            _REMEDY,
        )
    for name, expected in files.items():
        found = sha256_of_file(folder / name)
        if found != expected:
            check_fetched(folder / name)
            raise ArtifactError(
                f"{folder / name} is damaged: SHA-256 {found[:12]}… instead of {expected[:12]}….",
                _REMEDY,
            )


def _leads_inside(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder)
    except (OSError, RuntimeError):  # links in a circle
        return False


def _short(name: str) -> str:
    text = ascii(name)
    return text if len(text) <= 80 else f"{text[:77]}..."
