"""Files that are written completely or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cxredge.artifacts.disk_space import writing
from cxredge.artifacts.exchange import sync_file, sync_folder
from cxredge.artifacts.interruption import uninterrupted
from cxredge.artifacts.temporary import temporary_file


@uninterrupted
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_file(path) as temporary:
        yield temporary
        sync_file(temporary)
        temporary.chmod(0o666 & ~current_umask())
        temporary.replace(path)
        sync_folder(path.parent)


def current_umask() -> int:
    """Return the file mode creation mask; the system only returns it when it is set."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to ``path``, completely or not at all.

    Raises:
        CxredgeError: The disk is full, or the folder cannot be written to.
    """
    content = text.encode("utf-8")
    with writing(path.parent, len(content), path.name), atomic_file(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value to ``path``, indented, completely or not at all."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")
