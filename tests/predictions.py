"""Folders of images, the predict command, and its rows."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a ``.csv`` of predictions."""
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return list(csv.DictReader(stream))


def many_images(folder: Path, phantoms: Path, count: int) -> Path:
    """Fill a folder with `count` hard links to phantoms."""
    folder.mkdir()
    sources = sorted((phantoms / "images").rglob("*.*"))[:40]
    for number in range(count):
        source = sources[number % len(sources)]
        os.link(source, folder / f"{number:05d}{source.suffix}")
    return folder


def predict_command(bundle: Path, *more: object) -> list[str]:
    """Return the command line of a prediction in a new process."""
    return [sys.executable, "-m", "cxredge", "predict", *map(str, (bundle, *more))]
