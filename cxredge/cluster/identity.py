"""Hashes by which driver and workers recognise a bundle and the images of a shard."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from cxredge.artifacts.card import CARD_NAME
from cxredge.artifacts.hashing import sha256_of_file
from cxredge.bundle.passport import PASSPORT_NAME


def files_sha256(bundle: Path) -> tuple[str, ...]:
    """Return the SHA-256 of a bundle's card, and of its passport if it has one.

    The card has those of the models, and the passport that of the engine.
    """
    names = (CARD_NAME, PASSPORT_NAME)
    return tuple(sha256_of_file(bundle / name) for name in names if (bundle / name).is_file())


def sha256_of_names(names: Iterable[object]) -> str:
    """Return the SHA-256 of the names of images, in their order."""
    digest = hashlib.sha256()
    for name in names:
        encoded = str(name).encode("utf-8", "surrogateescape")
        # The length keeps two names apart, whatever characters they have.
        digest.update(f"{len(encoded)}:".encode() + encoded)
    return digest.hexdigest()
