"""Delivery of a bundle, a folder or an archive, to the folder where it is finished.

Delivering the same bundle again changes nothing, so that engines that were built there are kept.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from cxredge.artifacts.card import CARD_NAME, ArtifactKind, held_files, read_artifact, read_card
from cxredge.artifacts.disk_space import writing
from cxredge.artifacts.folder import atomic_folder, check_replaceable
from cxredge.artifacts.regular_file import read_regular
from cxredge.bundle.archive import (
    MAX_CARD_BYTES,
    SIGNATURE_NAME,
    SUFFIX,
    is_archive,
    read_head,
    unpack,
)
from cxredge.bundle.card import BundleCard
from cxredge.errors import ArtifactError, CxredgeError, quoted
from cxredge.progress import Progress


def read_delivered(source: Path) -> BundleCard:
    """Return the card of a bundle, a folder or an archive.

    Raises:
        ArtifactError: It is not a bundle.
    """
    return read_head(source)[0] if is_archive(source) else read_card(source, BundleCard)


def destination(source: Path, out: Path | None) -> Path:
    """Return the folder in which a bundle is finished.

    Args:
        source: A bundle's folder or its archive.
        out: The folder; None for the folder itself or, for an archive, one beside it.

    Raises:
        CxredgeError: No folder can be named after the archive.
    """
    folder = out or (source.with_suffix("") if is_archive(source) else source)
    if folder == source and is_archive(source):
        raise CxredgeError(
            f"The name of {source} does not end in {SUFFIX}, so no folder can be named after it.",
            "Name the folder: --out BUNDLE",
        )
    return folder


def deliver(source: Path, folder: Path, progress: Progress, check: Callable[[Path], None]) -> Path:
    """Unpack or copy a bundle to the folder in which it is finished, if required; return that.

    Args:
        source: A bundle's folder or its archive.
        folder: The folder, as :func:`destination` returns it.
        progress: Progress listener.
        check: Called with the new folder before it replaces another; may refuse it.

    Raises:
        ArtifactError: The bundle is damaged or refused, or ``folder`` holds something else.
        CxredgeError: The disk is full, or the folder cannot be written to.
    """
    if folder.resolve() == source.resolve():
        return _writable(source)
    if _is_there(source, folder):
        progress.note(f"{folder} holds the same bundle already.")
        return folder
    check_replaceable(folder, ArtifactKind.BUNDLE.value)
    if is_archive(source):
        unpack(source, folder, _naming(source, check))
        progress.note(f"Unpacked {source} to {folder}.")
    else:
        _copy(source, folder, _naming(source, check))
        progress.note(f"Copied {source} to {folder}.")
    return folder


def _writable(folder: Path) -> Path:
    if not os.access(folder, os.W_OK):
        raise CxredgeError(
            f"{folder} cannot be written to; engines and the passport are written there.",
            f"Finish a copy of it: cxredge deploy {quoted(folder)} --out BUNDLE",
        )
    return folder


def _is_there(source: Path, folder: Path) -> bool:
    """Return whether a folder already holds the bundle, including its signature."""
    if not (folder / CARD_NAME).is_file():
        return False
    card_bytes: bytes | None
    if is_archive(source):
        _card, card_bytes, signature = read_head(source)
    else:
        card_bytes, signature = _bytes(source / CARD_NAME), _bytes(source / SIGNATURE_NAME)
    if _bytes(folder / CARD_NAME) != card_bytes:
        return False
    if _bytes(folder / SIGNATURE_NAME) != signature:
        return False
    try:
        read_artifact(folder, BundleCard)
    except ArtifactError:
        return False
    return True


def _naming(source: Path, check: Callable[[Path], None]) -> Callable[[Path], None]:
    """Return the check with the source in its messages, not a folder that is gone then."""

    def check_copy(folder: Path) -> None:
        try:
            check(folder)
        except ArtifactError as error:
            texts = (text.replace(str(folder), str(source)) for text in (error.message, error.hint))
            raise ArtifactError(*texts) from None

    return check_copy


def _copy(source: Path, folder: Path, check: Callable[[Path], None]) -> None:
    """Copy the packed files, without those that another device has added."""
    card = read_artifact(source, BundleCard).card
    names = [CARD_NAME, *held_files(source, card)]
    names += [SIGNATURE_NAME] if (source / SIGNATURE_NAME).is_file() else []
    size_bytes = sum((source / name).stat().st_size for name in names)
    with (
        writing(folder.parent, size_bytes, f"the bundle {folder.name}"),
        atomic_folder(folder, ArtifactKind.BUNDLE.value) as temporary,
    ):
        for name in names:
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, temporary / name)
        check(temporary)


def _bytes(path: Path) -> bytes | None:
    """Return the content of a small file; None if it is missing."""
    if not path.is_file():
        return None
    return read_regular(path, MAX_CARD_BYTES, "Copy the bundle again.")
