"""A bundle as one file: a plain tar with the card first, the same bytes for the same bundle.

It holds the files that the card lists, without those that a device has added. It is not compressed
(weights hardly compress), so the unpacked bundle is no larger than the archive, and any ``tar -xf``
unpacks it.

An archive may come from anywhere, so it is read strictly: one header of 512 bytes at a time, plain
files only, with names and hashes that the card states. Extensions for links, devices, long names
and sparse files are refused, not interpreted. :mod:`tarfile` would interpret them before its data
filter is asked, and the filter accepts links and folders.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from cxredge.artifacts.atomic import atomic_file
from cxredge.artifacts.card import CARD_NAME, ArtifactKind, decode_card, held_files, read_artifact
from cxredge.artifacts.disk_space import writing
from cxredge.artifacts.file_names import MAX_BYTES, MAX_FILES, check_names
from cxredge.artifacts.folder import atomic_folder
from cxredge.artifacts.interruption import uninterrupted
from cxredge.artifacts.temporary import scratch_folder
from cxredge.bundle.card import BundleCard
from cxredge.bundle.layout import PICTURES
from cxredge.errors import ArtifactError, quoted

SUFFIX = ".tar"
SIGNATURE_NAME = "card.sig"
"""The signature of the card, written by :mod:`cxredge.bundle.signature`."""

MAX_CARD_BYTES = 16_000_000
_CHUNK_BYTES = 1 << 20
_MAGIC_OFFSET, _MAGIC = 257, b"ustar"
_AGAIN = "Copy the archive again, or build it again: cxredge build ... --archive"


def is_archive(path: Path) -> bool:
    """Return whether a path is a tar file, of any content."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(tarfile.BLOCKSIZE)[_MAGIC_OFFSET:].startswith(_MAGIC)


def refuse_archive(path: Path) -> None:
    """Raise ArtifactError if a path is an archive, for readers of folders and results."""
    if is_archive(path):
        raise ArtifactError(
            f"{path} is a bundle's archive.",
            f"Unpack and finish it on its device: cxredge deploy {quoted(path)}. Elsewhere: mkdir "
            f"BUNDLE && tar -xf {quoted(path)} -C BUNDLE",
        )


def archive_of(folder: Path) -> Path:
    """Return the path of the archive of a bundle's folder, beside it."""
    return folder.with_name(folder.name + SUFFIX)


def write_archive(folder: Path, out: Path) -> None:
    """Write a bundle's card, its signature if there is one, and the files of the card to a tar.

    Raises:
        ArtifactError: The folder is not a bundle, or a file is missing or differs.
        CxredgeError: The disk is full.
    """
    card = read_artifact(folder, BundleCard).card
    signature = [SIGNATURE_NAME] if (folder / SIGNATURE_NAME).is_file() else []
    names = [CARD_NAME, *signature, *sorted(held_files(folder, card))]
    size_bytes = sum((folder / name).stat().st_size + tarfile.RECORDSIZE for name in names)
    with (
        writing(out.parent, size_bytes, f"the archive {out.name}"),
        atomic_file(out) as temporary,
        tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name in names:
            # The header holds nothing of this machine: no time, owner or umask.
            header = tarfile.TarInfo(name)
            header.size, header.mode = (folder / name).stat().st_size, 0o644
            with (folder / name).open("rb") as content:
                tar.addfile(header, content)


def read_head(path: Path) -> tuple[BundleCard, bytes, bytes | None]:
    """Return the card of an archive, its bytes, and its signature or None.

    Raises:
        ArtifactError: It does not begin with the card of a bundle.
    """
    with path.open("rb") as stream:
        headers = _headers(stream, path)
        name, size = next(headers, ("", 0))
        if name != CARD_NAME or size > MAX_CARD_BYTES:
            raise ArtifactError(
                f"{path} is a tar, but not the archive of a bundle: it does not begin with a "
                f"bundle's {CARD_NAME}.",
                "Pack the bundle with: cxredge sign BUNDLE --key private.pem --archive, or "
                "cxredge build ... --archive",
            )
        card_bytes = b"".join(_content(stream, size, path))
        card = decode_card(card_bytes, path / CARD_NAME, BundleCard)
        name, size = next(headers, ("", 0))
        signature = None
        if name == SIGNATURE_NAME and size < _CHUNK_BYTES:
            signature = b"".join(_content(stream, size, path))
    return card, card_bytes, signature


def check_archive(path: Path) -> BundleCard:
    """Compare every file in an archive with its card, without writing.

    Raises:
        ArtifactError: It is damaged, incomplete, or holds files that the card does not list.
    """
    for _name, chunks in _files(path):
        for _chunk in chunks:
            pass
    return read_head(path)[0]


def unpack(path: Path, out: Path, check: Callable[[Path], None] = lambda folder: None) -> None:
    """Unpack an archive into a folder, completely or not at all.

    Every file is compared with its hash on the card while it is written.

    Args:
        path: The archive.
        out: The folder; an existing bundle is replaced.
        check: Called with the unpacked folder before it replaces another; may refuse it.

    Raises:
        ArtifactError: The archive is damaged, incomplete, or holds files that the card does not
            list, or ``out`` holds something else.
        CxredgeError: The disk is full.
    """
    size_bytes = path.stat().st_size
    with (
        writing(out.parent, size_bytes, f"the bundle {out.name}"),
        atomic_folder(out, ArtifactKind.BUNDLE.value) as folder,
    ):
        for name, chunks in _files(path):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("xb") as stream:
                stream.writelines(chunks)
        check(folder)


@uninterrupted
def unpacked(path: Path) -> Iterator[Path]:
    """Yield a temporary folder with the content of an archive."""
    with scratch_folder("archive") as scratch:
        folder = scratch / path.stem
        unpack(path, folder)
        yield folder


def _files(path: Path) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield name and content of each file; read the content before the next file.

    Raises:
        ArtifactError: A file is not what the card states, or one is missing.
    """
    card, card_bytes, signature = read_head(path)
    expected = {CARD_NAME: hashlib.sha256(card_bytes).hexdigest(), **_listed(card, path)}
    if signature is not None:
        expected[SIGNATURE_NAME] = hashlib.sha256(signature).hexdigest()
    with path.open("rb") as stream:
        for name, size in _headers(stream, path):
            if name not in expected:
                raise ArtifactError(
                    f"{path} holds {name!r}, which its card does not list or which came before.",
                    _AGAIN,
                )
            yield name, _checked(_content(stream, size, path), expected.pop(name), f"{path}:{name}")
    missing = expected.keys() - PICTURES
    if missing:
        raise ArtifactError(f"{path} lacks {', '.join(sorted(missing))}.", _AGAIN)


def _listed(card: BundleCard, path: Path) -> dict[str, str]:
    """Return the card's files, after checking that their names stay inside the folder."""
    check_names(card.files, path / CARD_NAME)
    for name in (CARD_NAME, SIGNATURE_NAME):
        if name in card.files:
            raise ArtifactError(
                f"The card of {path} lists '{name}', which is not a valid file name.", _AGAIN
            )
    return dict(card.files)


def _headers(stream: IO[bytes], path: Path) -> Iterator[tuple[str, int]]:
    """Yield name and size of each file; read the content before the next file."""
    count = total = 0
    while (block := stream.read(tarfile.BLOCKSIZE)) != bytes(tarfile.BLOCKSIZE):
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.TarError, ValueError):
            raise ArtifactError(f"{path} is cut off or damaged.", _AGAIN) from None
        if header.type != tarfile.REGTYPE or header.size < 0:
            raise ArtifactError(
                f"{path} holds {header.name!r}, which is not a plain file; archives of cxredge "
                "have no links, folders or devices.",
                _AGAIN,
            )
        count, total = count + 1, total + header.size
        if count > MAX_FILES or total > MAX_BYTES:
            raise ArtifactError(
                f"{path} holds more than {MAX_FILES} files or {MAX_BYTES / 1e9:.0f} GB; no bundle "
                "is that large."
            )
        yield header.name, header.size


def _content(stream: IO[bytes], size: int, path: Path) -> Iterator[bytes]:
    """Yield a file's bytes, and skip the padding of its last block."""
    left = size
    while left:
        chunk = stream.read(min(left, _CHUNK_BYTES))
        if not chunk:
            raise ArtifactError(f"{path} is cut off.", _AGAIN)
        left -= len(chunk)
        yield chunk
    stream.read(-size % tarfile.BLOCKSIZE)


def _checked(chunks: Iterator[bytes], expected: str, where: str) -> Iterator[bytes]:
    """Yield chunks, and raise ArtifactError after the last if their hash differs."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
        yield chunk
    found = digest.hexdigest()
    if found != expected:
        raise ArtifactError(
            f"{where} is damaged: SHA-256 {found[:12]}… instead of {expected[:12]}….", _AGAIN
        )
