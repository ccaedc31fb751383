"""Reading the small files in which the kernel tells about the machine."""

from __future__ import annotations

from pathlib import Path


def read_text(path: Path) -> str | None:
    """Return what a file holds without NUL and white space around it; None where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def read_number(path: Path) -> float | None:
    """Return the number that a file holds; None where there is none."""
    text = read_text(path)
    try:
        return float(text) if text else None
    except ValueError:
        return None
