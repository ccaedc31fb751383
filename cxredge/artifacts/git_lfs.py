"""Git LFS pointers: small text files that stand for files that were not fetched."""

from __future__ import annotations

from pathlib import Path

from cxredge.errors import ArtifactError

FETCH_HINT = "Fetch the file itself: git lfs pull"
_START = b"version https://git-lfs.github.com/spec/"


def is_lfs_pointer(head: bytes) -> bool:
    """Return whether a file is a Git LFS pointer, by its first bytes."""
    return head.startswith(_START)


def check_fetched(path: Path) -> None:
    """Raise ArtifactError if a file is a Git LFS pointer; do nothing if it cannot be read."""
    try:
        with path.open("rb") as stream:
            head = stream.read(len(_START))
    except OSError:
        return
    if is_lfs_pointer(head):
        raise ArtifactError(f"{path} is a Git LFS pointer, not the file itself.", FETCH_HINT)
