"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cxredge.errors import ArtifactError

_CARD_NAME = "card.json"
"""As in :mod:`cxredge.artifacts`: what tells our folders from others."""


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it only when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _flush_to_disk(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``path`` only when the block succeeds.

    A folder that is already there is replaced only if it is empty or one of ours.

    Raises:
        ArtifactError: ``path`` holds something that cxredge did not write.
    """
    check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
            path.replace(old)
            temporary.replace(path)
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_replaceable(path: Path) -> None:
    """Raise ArtifactError unless ``path`` is free, an empty folder or one of our artifacts."""
    if not path.exists():
        return
    if not path.is_dir():
        raise ArtifactError(
            f"{path} is a file; a folder is written there.", "Choose another --out."
        )
    if path.is_symlink():
        raise ArtifactError(f"{path} is a link.", "Give the folder that it points to.")
    if any(path.iterdir()) and not _is_ours(path / _CARD_NAME):
        raise ArtifactError(
            f"{path} holds files that cxredge did not write (no {_CARD_NAME} of cxredge).",
            "Choose another --out, or empty that folder.",
        )


def _is_ours(card: Path) -> bool:
    """Tell whether a file is a card of cxredge, be it edited or of another version."""
    try:
        body = json.loads(card.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(body, dict) and str(body.get("schema", "")).startswith("cxredge.")


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
