"""Small files in which the Linux kernel reports facts about the machine."""

from __future__ import annotations

from pathlib import Path


def read_text(path: Path) -> str | None:
    """Return the content of a file, stripped of NUL and white space.

    Returns:
        None if the file is empty or cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ") or None
    except OSError:
        return None


def read_number(path: Path) -> float | None:
    """Return the number in a file, or None if it holds none or cannot be read."""
    text = read_text(path)
    try:
        return float(text) if text else None
    except ValueError:
        return None


def read_sizes_mb(path: Path) -> dict[str, int]:
    """Return the sizes that a file such as ``/proc/meminfo`` lists in kB, in MB (10^6 bytes)."""
    lines = (line.split() for line in (read_text(path) or "").splitlines())
    return {
        words[0].rstrip(":"): int(words[1]) * 1024 // 1_000_000
        for words in lines
        if len(words) >= 2 and words[1].isdigit()
    }
