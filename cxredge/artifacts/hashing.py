"""SHA-256 of files and of JSON values, and documents that carry their own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxredge.artifacts.regular_file import open_regular
from cxredge.errors import ArtifactError

CONTENT_HASH = "content_sha256"
"""Key of a document's own hash: that of all its other keys."""


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open_regular(path) as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_json(value: Any) -> str:
    """Return the SHA-256 of a JSON value in its canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def with_content_hash(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with the SHA-256 of its content, which reveals later changes."""
    content = {key: value for key, value in values.items() if key != CONTENT_HASH}
    return {**content, CONTENT_HASH: sha256_of_json(content)}


def check_content_hash(values: Any, origin: Path | str, remedy: str) -> None:
    """Compare a document with its own hash; one without a hash, of an older version, passes.

    Args:
        values: The JSON value of the document.
        origin: Origin of the document, for messages.
        remedy: Hint for the user if it was changed, as a sentence.

    Raises:
        ArtifactError: It was changed after it was written.
    """
    if not isinstance(values, dict) or CONTENT_HASH not in values:
        return
    if values != with_content_hash(values):
        raise ArtifactError(
            f"{origin} was changed after it was written: it does not match its own hash.", remedy
        )
