"""Folders that are written completely or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cxredge.artifacts.atomic import current_umask
from cxredge.artifacts.card import CARD_NAME
from cxredge.artifacts.exchange import put_folder, sync_tree
from cxredge.artifacts.interruption import uninterrupted
from cxredge.artifacts.records import read_json_file
from cxredge.artifacts.temporary import temporary_folder
from cxredge.errors import ArtifactError


@uninterrupted
def atomic_folder(path: Path, kind: str = "") -> Iterator[Path]:
    """Yield a temporary folder that becomes ``path`` if the block succeeds.

    An existing folder is replaced only if it is empty or an artifact of this kind.

    Raises:
        ArtifactError: ``path`` holds something else.
    """
    check_replaceable(path, kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(path) as temporary:
        yield temporary
        temporary.chmod(0o777 & ~current_umask())
        sync_tree(temporary)
        check_replaceable(path, kind)  # it may have been put there in between
        put_folder(temporary, path)


def check_replaceable(path: Path, kind: str = "") -> None:
    """Raise ArtifactError unless ``path`` is free, an empty folder or an artifact of this kind.

    Training takes hours, so a model or a bundle does not replace a run. Without a kind, any
    artifact of cxredge may be replaced.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise ArtifactError(
            f"{path} is a file; a folder is written there.", "Choose another --out."
        )
    if path.is_symlink():
        raise ArtifactError(f"{path} is a link.", "Give the folder that it points to.")
    if not any(path.iterdir()):
        return
    held = kind_of(path)
    if held is None:
        raise ArtifactError(
            f"{path} holds files that cxredge did not write (no {CARD_NAME} of cxredge).",
            "Choose another --out, or empty that folder.",
        )
    if kind and held != kind:
        raise ArtifactError(f"{path} holds a {held}, not a {kind}.", "Choose another --out.")


def kind_of(folder: Path) -> str | None:
    """Return the kind of artifact that a folder's card states, without checking the card.

    None if the folder has no card of cxredge, of any version.
    """
    try:
        body = read_json_file(folder / CARD_NAME)
    except (OSError, ArtifactError):
        return None
    if not isinstance(body, dict) or not str(body.get("schema", "")).startswith("cxredge."):
        return None
    return str(body.get("kind"))
