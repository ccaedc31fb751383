"""Pseudonyms of patients: keyed hashes of their identifiers.

Hospitals' patient numbers are so few that an unkeyed hash could be reversed by trying them all.
With one key, a patient has the same pseudonym in every list.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from functools import cached_property
from pathlib import Path

from cxredge.artifacts.exchange import sync_file, sync_folder
from cxredge.artifacts.regular_file import NotRegularError, open_regular
from cxredge.artifacts.temporary import temporary_file
from cxredge.errors import DataError

_MIN_KEY_BYTES = 16
_PSEUDONYM_CHARACTERS = 32
_KEY_REMEDY = "Give a file of random bytes, or omit --patient-key to have one created."


def local_key_file() -> Path:
    """Return the path of this user's key: outside the data, because it undoes the hash."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "cxredge" / "patient.key"


class PatientKey:
    """A secret key of hashes of patients.

    Args:
        key: At least 16 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    @property
    def name(self) -> str:
        """64 bits as hexadecimal digits that tell keys apart and do not reveal the key."""
        return self.hash_of("name of the key", "")[:16]

    def hash_of(self, purpose: str, patient: str) -> str:
        """Return the HMAC-SHA256 of a patient; hashes of different purposes cannot be compared."""
        text = f"{purpose}\0{patient}".encode("utf-8", "surrogateescape")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()


def patient_key(key_file: Path | None) -> PatientKey | None:
    """Return the key with which runs and evaluations hash patients; None if there is none.

    Args:
        key_file: A secret file; None for this user's key, if there is one. It is not created: a
            manifest that holds the training images needs none.

    Raises:
        DataError: The given file cannot be used.
    """
    if key_file is None and not local_key_file().is_file():
        return None
    return PatientKey(Pseudonyms(key_file).key)


class Pseudonyms:
    """Pseudonyms by HMAC-SHA256.

    Args:
        key_file: A secret file of at least 16 bytes. None for this user's key, which is created
            when it is first needed.

    Attributes:
        key_file: The file of the key.
        used: Whether a pseudonym was made.
        created: Whether the key was created for it.
    """

    def __init__(self, key_file: Path | None = None) -> None:
        self._given = key_file
        self.key_file = key_file or local_key_file()
        self.used = False
        self.created = False

    def of(self, patient_id: str) -> str:
        """Return the pseudonym of a patient, 128 bits as hexadecimal digits.

        Raises:
            DataError: The key file is missing, unreadable or too short.
        """
        self.used = True
        digest = hmac.new(self.key, patient_id.encode(), hashlib.sha256).hexdigest()
        return digest[:_PSEUDONYM_CHARACTERS]

    @cached_property
    def key(self) -> bytes:
        """The key.

        Raises:
            DataError: The file is missing, unreadable or too short.
        """
        if self._given is None:
            self.created = _create_key(self.key_file)
        try:
            with open_regular(self.key_file) as stream:
                key = stream.read().strip()
        except NotRegularError as error:
            raise DataError(f"{error}.", _KEY_REMEDY) from None
        except OSError as error:
            raise DataError(
                f"{self.key_file} cannot be read as a key: {error.strerror}.", _KEY_REMEDY
            ) from None
        if len(key) < _MIN_KEY_BYTES:
            raise DataError(
                f"{self.key_file} is too short for a key: {len(key)} bytes; "
                f"at least {_MIN_KEY_BYTES} are required.",
                _KEY_REMEDY,
            )
        return key


def _create_key(key_file: Path) -> bool:
    """Write a new key that only this user can read, unless the file exists.

    Returns:
        Whether the key is new.
    """
    key_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if key_file.exists():
        return False
    with temporary_file(key_file) as temporary:  # its mode is 0600
        temporary.write_text(secrets.token_hex(32) + "\n")
        sync_file(temporary)
        try:
            os.link(temporary, key_file)  # of two processes, one makes the key
        except FileExistsError:
            return False
    sync_folder(key_file.parent)
    return True
