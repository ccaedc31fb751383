"""A manifest of phantoms with controls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PIL import Image

from cxredge.artifacts.hashing import sha256_of_file
from cxredge.data.manifest import Entry, Manifest, write_manifest
from cxredge.data.phantom_controls import KINDS, render_control
from cxredge.vocabulary import Split

EACH = 4
"""Number of controls of each kind."""


def with_controls(manifest: Manifest, folder: Path, size: int = 64) -> Path:
    """Write a manifest with controls, sexes and ages; viral and the controls share a source."""
    entries = [
        replace(
            entry,
            source="north" if entry.label == "viral" else "south",
            sex="FM"[number % 2],
            age=str(20 + number % 50),
        )
        for number, entry in enumerate(manifest.entries)
    ]
    for number in range(EACH * len(KINDS)):
        kind = list(KINDS)[number // EACH]
        path = folder / f"control-{number}.png"
        Image.fromarray(render_control(kind, number, size)).save(path)
        sha256 = sha256_of_file(path)
        entries.append(
            Entry(path, "", f"c{number}", "north", "", Split.CONTROL, sha256, finding=kind)
        )
    return write_manifest(folder / "manifest.csv", entries).path
