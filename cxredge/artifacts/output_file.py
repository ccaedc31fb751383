"""Checks of a file that a command will write, before any work."""

from __future__ import annotations

import os
from pathlib import Path

from cxredge.errors import CxredgeError, quoted


def check_output_file(path: Path) -> None:
    """Check that a file named by an option can be written: no folder is made unasked.

    Raises:
        CxredgeError: Its folder does not exist or is not writable, or the path is a folder, a pipe
            or a device.
    """
    folder = path.parent
    if not folder.exists():
        raise CxredgeError(
            f"Cannot write {path}: the folder {folder} does not exist.",
            f"Make it first: mkdir -p {quoted(folder)}",
        )
    if not folder.is_dir():
        raise CxredgeError(f"Cannot write {path}: {folder} is not a folder.", "Use another --out.")
    if path.is_dir():
        raise CxredgeError(f"Cannot write {path}: it is a folder.", "Name a file with --out.")
    leads_to_a_stream = path.is_symlink() and str(path.readlink()).startswith("/proc/")
    if leads_to_a_stream or (path.exists() and not path.is_file()):
        # The finished file would replace a device such as /dev/stdout.
        raise CxredgeError(
            f"Cannot write {path}: it is a pipe or a device.", "Name a file with --out."
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CxredgeError(
            f"Cannot write {path}: {folder} is not writable.", "Choose a writable folder."
        )
