"""Images in remote storage, such as ``s3://bucket/a.png``, read through fsspec."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cxredge.errors import CxredgeError, DataError, DependencyError, ImageError, ImageProblem

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://.")
_EXTRAS = {"s3": "s3", "s3a": "s3"}
"""The extra that installs the package of a protocol."""
_PERSISTENT = (None, "AccessDenied", "403", "Forbidden")
"""Codes of refusals that concern one object; others, as of an expired token, concern all."""
_MAY_IGNORE_RANGES = ("http", "https")
"""A server may answer with more than the range asked for; an open file stops reading then."""
_LOCAL = ("file", "local")


@dataclass(frozen=True, order=True)
class RemoteFile:
    """One file or folder in remote storage.

    Attributes:
        url: Its address, ``PROTOCOL://...``.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rstrip("/").rsplit("/", 1)[-1]

    @property
    def protocol(self) -> str:
        """The protocol, such as ``s3``."""
        return self.url.split("://", 1)[0].lower()


def is_url(text: str) -> bool:
    """Return whether an input is the address of remote storage, not a local path."""
    return _URL.match(text) is not None


def check_readable(place: RemoteFile) -> None:
    """Check that the package of a protocol is installed and that the storage answers.

    Raises:
        DependencyError: The package is not installed.
        DataError: There is no such file or folder, or the storage cannot be used.
    """
    try:
        with _storage(place):
            _files(place.protocol).info(place.url)
    except ImageError as error:
        raise DataError(error.message, error.hint) from None


def is_remote_folder(place: RemoteFile) -> bool:
    """Return whether an address is that of a folder; False if it does not exist.

    Raises:
        DataError: The storage cannot be used.
    """
    try:
        with _storage(place):
            return bool(_files(place.protocol).info(place.url)["type"] == "directory")
    except ImageError:
        return False


def list_remote(folder: RemoteFile) -> list[tuple[RemoteFile, bool]]:
    """Return the entries of a folder by sorted name, and whether each is a folder.

    Raises:
        ImageError: The folder cannot be listed.
        DataError: The storage cannot be used.
    """
    with _storage(folder):
        files = _files(folder.protocol)
        own = files._strip_protocol(folder.url).rstrip("/")
        found = [
            (RemoteFile(files.unstrip_protocol(entry["name"])), entry["type"] == "directory")
            for entry in files.ls(folder.url, detail=True)
            # Some stores list an object that marks the folder itself.
            if entry["name"].rstrip("/") != own
        ]
    return sorted(found, key=lambda entry: entry[0].name)


def size_of_remote(source: RemoteFile) -> int:
    """Return the size of a remote file in bytes.

    Raises:
        ImageError: It is missing, a folder, or does not state its size.
        DataError: The storage cannot be used.
    """
    with _storage(source):
        found = _files(source.protocol).info(source.url)
    if found["type"] == "directory":
        raise _unreadable(source, "it is a folder")
    if not isinstance(found.get("size"), int):
        raise _unreadable(source, "the server does not state its size")
    return int(found["size"])


def read_remote(source: RemoteFile, size_bytes: int) -> bytes:
    """Return the first bytes of a remote file; never more than asked for.

    Args:
        source: The file.
        size_bytes: Number of bytes, at most the size of the file.

    Raises:
        ImageError: It is missing or cannot be read.
        DataError: The storage cannot be used.
    """
    if not size_bytes:
        return b""
    with _storage(source):
        files = _files(source.protocol)
        if source.protocol in _MAY_IGNORE_RANGES:
            with files.open(source.url, "rb", cache_type="none") as stream:
                return bytes(stream.read(size_bytes))
        return bytes(files.cat_file(source.url, start=0, end=size_bytes))


@contextmanager
def _storage(source: RemoteFile) -> Iterator[None]:
    """Turn errors of a storage into ours: of the one file, or of all files."""
    try:
        yield
    except (CxredgeError, MemoryError):
        raise
    except FileNotFoundError:
        raise ImageError(
            ImageProblem.MISSING, f"{source} does not exist.", "Check the address."
        ) from None
    except PermissionError as error:
        if _code_of(error) not in _PERSISTENT:
            raise _unusable(source, error) from None
        raise _unreadable(source, f"access is denied ({error})") from None
    except IsADirectoryError:
        raise _unreadable(source, "it is a folder") from None
    except Exception as error:
        raise _unusable(source, error) from None


def _code_of(error: BaseException) -> str | None:
    """Return the code that a store gave for a refusal, if there is one."""
    response = getattr(error.__cause__, "response", None)
    return response.get("Error", {}).get("Code") if isinstance(response, dict) else None


def _unreadable(source: RemoteFile, reason: str) -> ImageError:
    return ImageError(
        ImageProblem.UNREADABLE, f"{source} cannot be read: {reason}.", "Check the file."
    )


def _unusable(source: RemoteFile, error: Exception) -> DataError:
    return DataError(
        f"{source} cannot be read: {type(error).__name__}: {error}.",
        f"Check the network, the address and the credentials of {source.protocol}; then repeat "
        "with --resume.",
    )


def _files(protocol: str) -> Any:
    """Return the file system of a protocol.

    Raises:
        DependencyError: fsspec, or its package for the protocol, is not installed.
        DataError: fsspec does not know the protocol.
    """
    return _opened(protocol, os.getpid())


@functools.lru_cache
def _opened(protocol: str, process: int) -> Any:
    """Open a file system and cache it; a forked process needs its own connections."""
    if protocol in _LOCAL:
        raise DataError(f"{protocol}:// is a local file.", "Give its path.")
    extra = f"cxredge[{_EXTRAS.get(protocol, 'remote')}]"
    try:
        import fsspec
    except ModuleNotFoundError:
        raise DependencyError(
            f"Reading {protocol}:// requires the Python package 'fsspec'.",
            f"Install it: pip install '{extra}'",
        ) from None
    try:
        # A cache of listings would grow with the number of files.
        return fsspec.filesystem(protocol, use_listings_cache=False)
    except ImportError as error:
        own = f"Install it: pip install '{extra}'" if protocol in _EXTRAS else str(error)
        raise DependencyError(f"Reading {protocol}:// requires another package.", own) from None
    except ValueError:
        raise DataError(
            f"{protocol}:// is not a protocol that fsspec knows.",
            f"Known: {', '.join(sorted(fsspec.available_protocols()))}",
        ) from None
