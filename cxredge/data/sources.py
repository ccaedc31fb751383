"""Where an image is read from: a file, or a member of a zip archive."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from cxredge.data.limits import check_bytes
from cxredge.data.zip_members import MAX_MEMBER_BYTES, ZipMember, head_of, member_at, open_member
from cxredge.errors import ImageError, ImageProblem

ImageSource = Path | ZipMember

HEAD_BYTES = 132
_DICOM_MAGIC = b"DICM"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_JPEG_MAGIC = b"\xff\xd8\xff"


def is_dicom(head: bytes) -> bool:
    """Tell whether a file is DICOM by its first 132 bytes: a preamble of 128, then ``DICM``."""
    return head[128:HEAD_BYTES] == _DICOM_MAGIC


def is_dicom_file(path: Path) -> bool:
    """Tell whether a file is DICOM, whatever it is called; False when it cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as stream:
            return is_dicom(stream.read(HEAD_BYTES))
    except (OSError, ValueError):
        return False


def is_dicom_source(source: ImageSource) -> bool:
    """Tell whether an image is DICOM by its content; False when it cannot be read."""
    if isinstance(source, ZipMember):
        return is_dicom(head_of(source, HEAD_BYTES))
    return is_dicom_file(source)


def sha256_of_source(source: ImageSource) -> str:
    """Return the SHA-256 of an image's bytes.

    Raises:
        ImageError: As :func:`read_source`.
    """
    return hashlib.sha256(read_source(source)).hexdigest()


def read_source(source: ImageSource) -> bytes:
    """Return the bytes of an image, at least one.

    Of a member of an archive that does not begin as an image does, only the beginning. A path may
    lead through an archive: ``set.zip/normal/1.png``.

    Raises:
        ImageError: It is missing, empty, too large, not a regular file, unreadable, or a member of
            an archive that is refused.
    """
    if isinstance(source, ZipMember):
        return _read_member(source)
    try:
        status = source.stat()
        if stat.S_ISDIR(status.st_mode):
            raise _folder(source)
        if not stat.S_ISREG(status.st_mode):
            raise _unreadable(source, "it is not a regular file")
        check_bytes(str(source), status.st_size)
        content = source.read_bytes()
    except FileNotFoundError:
        raise _missing(source) from None
    except NotADirectoryError:
        if member := member_at(source):
            return _read_member(member)
        raise _missing(source) from None
    except OSError as error:
        raise _unreadable(source, _reason(error)) from None
    except ValueError:
        raise _unreadable(source, "its name holds a zero byte") from None
    if not content:
        raise _empty(source)
    return content


def _read_member(member: ZipMember) -> bytes:
    """Inflate a member that begins as an image does; of others no more than the beginning."""
    try:
        with open_member(member) as stream:
            head = stream.read(HEAD_BYTES)
            if not head:
                raise _empty(member)
            if not (head.startswith((_PNG_MAGIC, _JPEG_MAGIC)) or is_dicom(head)):
                return head
            # To the end, where the checksum is compared.
            return head + stream.read(MAX_MEMBER_BYTES)
    except OSError as error:
        raise _unreadable(member, _reason(error)) from None


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


def _empty(source: ImageSource) -> ImageError:
    return ImageError(ImageProblem.EMPTY, f"{source} is empty (0 bytes).", "Copy it again.")


def _unreadable(source: ImageSource, reason: str) -> ImageError:
    return ImageError(
        ImageProblem.UNREADABLE, f"{source} cannot be read: {reason}.", "Check the file."
    )
