"""Bytes of an image, from a file or a member of a zip archive, and the limits on its size."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxredge.artifacts.regular_file import NotRegularError, open_regular
from cxredge.data.memory_budget import memory_budget
from cxredge.data.remote import RemoteFile, read_remote, size_of_remote
from cxredge.data.signatures import is_foreign_picture
from cxredge.data.zip_members import (
    ZipMember,
    head_of,
    is_archive_name,
    member_at,
    open_member,
    size_of_member,
)
from cxredge.errors import ImageError, ImageProblem

ImageSource = Path | ZipMember
"""An image on this machine's file systems."""
Source = ImageSource | RemoteFile
"""An image in a file, an archive or remote storage."""

MAX_PIXELS = 64_000_000
MAX_BYTES = 10 * MAX_PIXELS  # MAX_PIXELS in 16-bit RGBA, and room for metadata
MIN_SIDE = 32
HEAD_BYTES = 132
"""Bytes at the beginning of a file that identify its format."""

_CHUNK_BYTES = 2**20
_DICOM_MAGIC = b"DICM"
_FIRST_GROUPS = (0x0002, 0x0008)
# Value representations of these groups with a length of 16 bits.
_SHORT_VALUES = (b"AE", b"CS", b"DA", b"DT", b"LO", b"PN", b"SH", b"TM", b"UI", b"UL", b"US")
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"


def is_dicom(head: bytes) -> bool:
    """Return whether a file is DICOM, by its first 132 bytes.

    They are a preamble of 128 and ``DICM``, or, in files that lack these, attributes of the file
    meta information (group 0002) or of the data set (group 0008).
    """
    return head[128:HEAD_BYTES] == _DICOM_MAGIC or _begins_with_attributes(head)


def dicom_start(content: bytes) -> int:
    """Return the position of the first attribute of a DICOM file."""
    return HEAD_BYTES if content[128:HEAD_BYTES] == _DICOM_MAGIC else 0


def _begins_with_attributes(head: bytes) -> bool:
    """Return whether two DICOM attributes in ascending order begin a file (PS3.5, 7.1)."""
    order = "<" if head[1:2] == b"\0" else ">"
    tags, position = [(0, 0)], 0
    while len(tags) < 3:
        if len(head) < position + 8:
            return False
        tag = struct.unpack_from(f"{order}HH", head, position)
        if tag[0] not in _FIRST_GROUPS or tag <= tags[-1]:
            return False
        value_representation = head[position + 4 : position + 6]
        if value_representation in _SHORT_VALUES:
            (length,) = struct.unpack_from(f"{order}H", head, position + 6)
        elif value_representation == b"OB" and tag[0] == 2:
            length = int.from_bytes(head[position + 8 : position + 12], "little") + 4
        else:
            (length,) = struct.unpack_from(f"{order}I", head, position + 4)
        if length % 2 or length > len(head):
            return False
        tags.append(tag)
        position += 8 + length
    return True


def is_picture(head: bytes) -> bool:
    """Return whether a file is an image, of a supported format or not, by its first 132 bytes."""
    return is_dicom(head) or head.startswith((PNG_MAGIC, JPEG_MAGIC)) or is_foreign_picture(head)


def is_picture_file(path: Path) -> bool:
    """Return whether a file is an image by its content; False if it cannot be read."""
    return is_picture(_head_of_file(path))


def is_dicom_file(path: Path) -> bool:
    """Return whether a file is DICOM by its content; False if it cannot be read."""
    return is_dicom(_head_of_file(path))


def _head_of_file(path: Path) -> bytes:
    try:
        # Files of 0 bytes below /proc have content without end.
        if not path.stat().st_size:
            return b""
        with open_regular(path) as stream:
            return stream.read(HEAD_BYTES)
    except (OSError, ValueError):
        return b""


def _head_of_remote(source: RemoteFile) -> bytes:
    try:
        return read_remote(source, min(HEAD_BYTES, size_of_remote(source)))
    except ImageError:
        return b""


def is_dicom_source(source: Source) -> bool:
    """Return whether a file or member is DICOM by its content; False if it cannot be read."""
    if isinstance(source, ZipMember):
        return is_dicom(head_of(source, HEAD_BYTES))
    if isinstance(source, RemoteFile):
        return is_dicom(_head_of_remote(source))
    return is_dicom_file(source)


def check_size(name: str, width: int, height: int) -> None:
    """Raise ImageError if an image of this size in pixels is too large or too small to decode."""
    if width * height > MAX_PIXELS:
        raise too_many_pixels(name, f"{width}x{height}")
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            ImageProblem.TOO_SMALL,
            f"{name} has {width}x{height} pixels; at least {MIN_SIDE}x{MIN_SIDE} are required.",
            "Use the original image.",
        )


def too_many_pixels(name: str, found: str) -> ImageError:
    """Return the error for an image with more than MAX_PIXELS."""
    return ImageError(
        ImageProblem.TOO_LARGE,
        f"{name} has {found} pixels; at most {MAX_PIXELS // 1_000_000} million are decoded.",
        "Scale it down first.",
    )


def sha256_of_source(source: Source) -> str:
    """Return the SHA-256 of an image's bytes.

    Raises:
        ImageError: See :func:`read_source`.
    """
    with reading(source) as content:
        return hashlib.sha256(content).hexdigest()


@contextmanager
def reading(source: Source) -> Iterator[bytes]:
    """Yield the bytes of an image; their memory is reserved while the block runs.

    Raises:
        ImageError: See :func:`read_source`; or the file is larger than the memory for files.
    """
    if isinstance(source, RemoteFile):
        size_bytes = _size_of_remote(source)
        with memory_budget().files.reserve(str(source), size_bytes):
            yield read_remote(source, size_bytes)
        return
    with memory_budget().files.reserve(str(source), min(_size_of(source), MAX_BYTES)):
        yield read_source(source)


def read_source(source: Source) -> bytes:
    """Return the bytes of an image, at least one.

    If a member of an archive does not begin like an image, only its first bytes are returned. A
    path may lead through an archive: ``set.zip/normal/1.png``.

    Raises:
        ImageError: The image is missing, empty, too large, not a regular file, unreadable, or a
            member that :func:`~cxredge.data.zip_members.open_member` refuses.
    """
    if isinstance(source, ZipMember):
        return _read_member(source)
    if isinstance(source, RemoteFile):
        return read_remote(source, _size_of_remote(source))
    try:
        status = source.stat()
        if stat.S_ISDIR(status.st_mode):
            raise _folder(source)
        _check_bytes(source, status.st_size)
        # A file of 0 bytes is not read: below /proc, such files have content without end.
        is_empty = stat.S_ISREG(status.st_mode) and not status.st_size
        content = b"" if is_empty else _read_file(source)
    except FileNotFoundError:
        raise _missing(source) from None
    except NotADirectoryError:
        if member := member_at(source):
            return _read_member(member)
        raise _missing(source) from None
    except NotRegularError:
        raise _unreadable(source, "it is not a regular file") from None
    except OSError as error:
        raise _unreadable(source, _reason(error)) from None
    except ValueError:
        raise _unreadable(source, "its name contains a zero byte") from None
    if not content:
        raise _empty(source)
    return content


def _size_of_remote(source: RemoteFile) -> int:
    """Return the size of a remote image in bytes.

    Raises:
        ImageError: It is missing, empty, too large, or an archive.
    """
    if is_archive_name(source.name):
        raise ImageError(
            ImageProblem.UNSUPPORTED,
            f"{source} is an archive in remote storage, which is not opened.",
            "Copy it to this machine, or unpack it there.",
        )
    size_bytes = size_of_remote(source)
    if not size_bytes:
        raise _empty(source)
    _check_bytes(source, size_bytes)
    return size_bytes


def _read_file(path: Path) -> bytes:
    with open_regular(path) as stream:
        content = stream.read(MAX_BYTES + 1)
    _check_bytes(path, len(content))
    return content


def _size_of(source: ImageSource) -> int:
    """Return the size of a file or member in bytes; 0 if it cannot be read."""
    if isinstance(source, ZipMember):
        return size_of_member(source)
    try:
        return source.stat().st_size
    except NotADirectoryError:
        try:
            member = member_at(source)
        except ImageError:
            return 0
        return size_of_member(member) if member else 0
    except (OSError, ValueError):
        return 0


def _read_member(member: ZipMember) -> bytes:
    """Inflate a member that begins like an image; of any other, only the first bytes."""
    try:
        with open_member(member) as stream:
            head = stream.read(HEAD_BYTES)
            if not head:
                raise _empty(member)
            if not (head.startswith((PNG_MAGIC, JPEG_MAGIC)) or is_dicom(head)):
                return head
            content = io.BytesIO()
            content.write(head)
            # Read to the end, where zipfile compares the checksum.
            shutil.copyfileobj(stream, content, _CHUNK_BYTES)
            return content.getvalue()
    except OSError as error:
        raise _unreadable(member, _reason(error)) from None


def _check_bytes(path: Path | RemoteFile, size_bytes: int) -> None:
    if size_bytes > MAX_BYTES:
        raise ImageError(
            ImageProblem.TOO_LARGE,
            f"{path} has {size_bytes // 1_000_000} MB; at most {MAX_BYTES // 1_000_000} are read.",
            "Save it as a compressed PNG.",
        )


def _missing(path: Path) -> ImageError:
    return ImageError(ImageProblem.MISSING, f"{path} does not exist.", "Check the path.")


def _folder(folder: Path) -> ImageError:
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        return _unreadable(folder, f"the folder cannot be listed, {_reason(error)}")
    return _unreadable(folder, "it is a folder")


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


def _empty(source: Source) -> ImageError:
    return ImageError(ImageProblem.EMPTY, f"{source} is empty (0 bytes).", "Copy it again.")


def _unreadable(source: ImageSource, reason: str) -> ImageError:
    return ImageError(
        ImageProblem.UNREADABLE, f"{source} cannot be read: {reason}.", "Check the file."
    )
