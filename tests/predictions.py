"""Folders to predict, how to do it, and what came out."""

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
    """Link phantoms as often as needed."""
    folder.mkdir()
    sources = sorted((phantoms / "images").rglob("*.*"))[:40]
    for number in range(count):
        source = sources[number % len(sources)]
        os.link(source, folder / f"{number:05d}{source.suffix}")
    return folder


def predict_command(bundle: Path, *more: object) -> list[str]:
    """Return a command line that predicts in a process of its own."""
    return [sys.executable, "-m", "cxredge", "predict", *map(str, (bundle, *more))]
