"""A keyed hash that stands for a patient.

Without the key nobody can try out numbers until a hash matches, as hospitals' numbers are few; with
it the same patient has the same pseudonym in every list made with it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from functools import cached_property
from pathlib import Path

from cxredge.errors import DataError

_LEAST_KEY_BYTES = 16
_SHOWN_CHARACTERS = 32


def local_key_file() -> Path:
    """Return where this user's key is kept: outside all data, as it would undo the hash."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "cxredge" / "patient.key"


class Pseudonyms:
    """Names patients by HMAC-SHA256.

    Args:
        key_file: A file of at least 16 bytes that nobody else has. None for a key of this user's,
            made and kept when it is first needed.
    """

    def __init__(self, key_file: Path | None = None) -> None:
        self._given = key_file
        self.key_file = key_file or local_key_file()
        self.used = False

    def of(self, patient_id: str) -> str:
        """Return the pseudonym of a patient, 128 bits as hexadecimal digits.

        Raises:
            DataError: The key file is missing, unreadable or too short.
        """
        self.used = True
        digest = hmac.new(self._key, patient_id.encode(), hashlib.sha256).hexdigest()
        return digest[:_SHOWN_CHARACTERS]

    @cached_property
    def _key(self) -> bytes:
        if self._given is None:
            _make(self.key_file)
        try:
            key = self.key_file.read_bytes().strip()
        except OSError as error:
            raise DataError(
                f"{self.key_file} cannot be read as a key: {error.strerror}.",
                "Give a file of random bytes, or leave --patient-key out to have one made.",
            ) from None
        if len(key) < _LEAST_KEY_BYTES:
            raise DataError(
                f"{self.key_file} is no key: {len(key)} bytes; "
                f"at least {_LEAST_KEY_BYTES} are needed.",
                "Give a file of random bytes, or leave --patient-key out to have one made.",
            )
        return key


def _make(key_file: Path) -> None:
    """Write a new key that only this user can read, unless there is one."""
    key_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        opened = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(opened, "w") as stream:
        stream.write(secrets.token_hex(32) + "\n")
