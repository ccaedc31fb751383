"""Images inside a zip archive, read without extracting anything to disk.

Only stored and deflated members are read: these two methods decompress in constant memory,
independent of the archive's metadata.
"""

from __future__ import annotations

import functools
import os
import stat
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from cxredge.artifacts.regular_file import open_regular
from cxredge.errors import ImageError, ImageProblem

MAX_MEMBER_BYTES = 256 * 2**20
_ENCRYPTED = 0x1
_OPEN_ARCHIVES = 4
_LOCAL_HEADER_BYTES = 30  # without name and extra field


@dataclass(frozen=True, order=True)
class ZipMember:
    """One file in a zip archive.

    Attributes:
        archive: The archive.
        name: The member's path inside it, as the archive spells it; only shown, never written to.
        index: Index of the entry in the archive, as names need not be unique.
    """

    archive: Path
    name: str
    index: int

    def __str__(self) -> str:
        return f"{self.archive}/{self.name}"


def is_archive_name(name: str) -> bool:
    """Return whether a file name is that of a zip archive; hidden files are not."""
    return name.lower().endswith(".zip") and not name.startswith(".")


def list_members(archive: Path) -> list[ZipMember]:
    """Return the files of an archive, in the order in which a folder of them would be walked.

    Raises:
        OSError: The archive cannot be read.
        zipfile.BadZipFile: The file is not a zip archive, or is damaged.
    """
    members = [
        ZipMember(archive, info.filename, index)
        for index, info in enumerate(_contents(archive).infolist())
        if not info.is_dir()
    ]
    return sorted(members, key=lambda member: (member.name.split("/"), member.index))


def member_at(path: Path) -> ZipMember | None:
    """Return the member that a path through an archive names, such as ``set.zip/normal/1.png``.

    None if no part of the path is an archive.

    Raises:
        ImageError: The archive has no such member, several of that name, or is damaged.
    """
    archive = next((p for p in path.parents if is_archive_name(p.name) and p.is_file()), None)
    if archive is None:
        return None
    name = path.relative_to(archive).as_posix()
    try:
        found = _indices(_contents(archive)).get(name, [])
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        raise ImageError(
            ImageProblem.TRUNCATED, f"{archive} is truncated or damaged.", "Copy it again."
        ) from None
    if len(found) != 1:
        problem = "is not in its archive"
        if found:
            problem = f"names {len(found)} files in its archive"
        raise _refused(ZipMember(archive, name, 0), ImageProblem.MISSING, problem)
    return ZipMember(archive, _contents(archive).infolist()[found[0]].filename, found[0])


def path_through(member: ZipMember) -> Path | None:
    """Return the path from which :func:`member_at` returns the member.

    None if its name leads out of the archive, as such a path would name another file.
    """
    inside = PurePosixPath(member.name)
    if inside.is_absolute() or ".." in inside.parts:
        return None
    return member.archive / inside


@contextmanager
def open_member(member: ZipMember) -> Iterator[IO[bytes]]:
    """Open a member for reading; it is inflated while it is read.

    Raises:
        ImageError: The member is encrypted, a link, itself an archive, too large, damaged, or
            compressed by an unsupported method. Reading inside the context raises it too.
    """
    try:
        archive = _contents(member.archive)
        infos = archive.infolist()
        if member.index >= len(infos) or infos[member.index].filename != member.name:
            raise _refused(member, ImageProblem.MISSING, "is no longer in its archive")
        _check_member(member, infos[member.index])
        if member.index in _overlapping(archive):
            raise _refused(
                member, ImageProblem.TRUNCATED, "shares its data with others in its archive"
            )
        with archive.open(infos[member.index]) as stream:
            yield stream
    except FileNotFoundError:
        raise _refused(member, ImageProblem.MISSING, "is missing, like its archive") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError):
        raise _refused(
            member, ImageProblem.TRUNCATED, "is truncated or damaged in its archive"
        ) from None


def head_of(member: ZipMember, size_bytes: int) -> bytes:
    """Return the first bytes of a member; empty if it cannot be read."""
    try:
        with open_member(member) as stream:
            return stream.read(size_bytes)
    except (ImageError, OSError):
        return b""


def size_of_member(member: ZipMember) -> int:
    """Return the stated size of a member in bytes, at most ``MAX_MEMBER_BYTES``.

    0 if it cannot be read. No more is unpacked than is stated.
    """
    try:
        infos = _contents(member.archive).infolist()
        return min(infos[member.index].file_size, MAX_MEMBER_BYTES)
    except (OSError, IndexError, zipfile.BadZipFile, NotImplementedError, ValueError):
        return 0


def _check_member(member: ZipMember, info: zipfile.ZipInfo) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise _refused(
            member, ImageProblem.ENCRYPTED, "is encrypted", "Unpack it with its password."
        )
    if stat.S_ISLNK(info.external_attr >> 16):
        raise _refused(member, ImageProblem.LINK, "is a symbolic link inside an archive")
    if is_archive_name(member.name.rsplit("/", 1)[-1]):
        raise _refused(
            member, ImageProblem.NESTED_ARCHIVE, "is an archive inside an archive", "Unpack it."
        )
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        problem = f"is compressed by method {info.compress_type}; methods 0 and 8 are supported"
        raise _refused(member, ImageProblem.UNSUPPORTED, problem, "Unpack it first.")
    if info.file_size > MAX_MEMBER_BYTES:
        problem = (
            f"unpacks to {info.file_size / 2**20:.0f} MiB; at most "
            f"{MAX_MEMBER_BYTES // 2**20} MiB are unpacked"
        )
        raise _refused(member, ImageProblem.TOO_LARGE, problem)


def _refused(
    member: ZipMember, problem: ImageProblem, reason: str, hint: str = "Check the archive."
) -> ImageError:
    return ImageError(problem, f"{member} {reason}.", hint)


def _contents(archive: Path) -> zipfile.ZipFile:
    status = archive.stat()
    return _opened(archive, status.st_size, status.st_mtime_ns, os.getpid())


@functools.lru_cache(_OPEN_ARCHIVES)
def _indices(archive: zipfile.ZipFile) -> dict[str, list[int]]:
    """Return the indices of an archive's entries by name, as a path spells it."""
    found: dict[str, list[int]] = {}
    for index, info in enumerate(archive.infolist()):
        found.setdefault(PurePosixPath(info.filename).as_posix(), []).append(index)
    return found


@functools.lru_cache(_OPEN_ARCHIVES)
def _overlapping(archive: zipfile.ZipFile) -> frozenset[int]:
    """Return the indices of entries that share data, which a small archive unpacks many times."""
    places = sorted((info.header_offset, index) for index, info in enumerate(archive.infolist()))
    sizes = [info.compress_size for info in archive.infolist()]
    found: set[int] = set()
    furthest, owner = 0, -1
    for start, index in places:
        if start < furthest:
            found |= {owner, index}
        end = start + _LOCAL_HEADER_BYTES + sizes[index]
        if end > furthest:
            furthest, owner = end, index
    return frozenset(found)


@functools.lru_cache(_OPEN_ARCHIVES)
def _opened(archive: Path, size_bytes: int, changed_ns: int, process: int) -> zipfile.ZipFile:
    """Open an archive and cache it: opening reads its whole list of members.

    The key contains the process because a forked process shares the file's position and must open
    the archive again. The file is opened here because ZipFile counts the users of a file that it
    opens itself without a lock.
    """
    stream = open_regular(archive)
    try:
        opened = zipfile.ZipFile(stream)
    except BaseException:
        stream.close()
        raise
    weakref.finalize(opened, stream.close)
    return opened
