"""Paths in commands that a message names, so that they can be copied to a shell as they are."""

from __future__ import annotations

import shlex
from pathlib import Path


def quoted(path: Path | str) -> str:
    """Return a path as one word of a command, in quotes where a shell asks for them."""
    return shlex.quote(str(path))
