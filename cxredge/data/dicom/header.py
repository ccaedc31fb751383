"""The attributes of a DICOM header that are needed, read safely from any file."""

from __future__ import annotations

import io
import logging
import math
import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pydicom.config
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from cxredge.data.memory_budget import memory_budget
from cxredge.data.sources import HEAD_BYTES, MAX_PIXELS, dicom_start
from cxredge.errors import ImageError, ImageProblem

PIXEL_DATA = 0x7FE00010
_META_GROUP = 0x0002
_FIRST_PIXEL_TAG = 0x7FE00008  # Float Pixel Data; Pixel Data comes after it
_MAX_READS = 50_000
MAX_UNPACKED_BYTES = 4 * MAX_PIXELS  # a data set with MAX_PIXELS of 16 bits, and as much more
_MAX_META_BYTES = 2**16
_MAX_RATIO = 1032  # of deflate, https://zlib.net/zlib_tech.html
_PIECE_BYTES = 2**16
_CHUNK_BYTES = 2**20
_VALUE_REPRESENTATION = re.compile(rb"[A-Z]{2}")

PICTURE_KEYWORDS = (
    "SOPClassUID", "Modality", "PresentationIntentType", "BurnedInAnnotation",
    "ViewPosition", "ViewCodeSequence", "PatientOrientation",
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames",
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "PresentationLUTShape",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence",
)  # fmt: skip
"""Attributes that decide whether a picture is used and how it looks; none identifies a person."""

# pydicom's warnings quote invalid values, which may be names: none may be shown.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").propagate = False
logging.getLogger("pylibjpeg").propagate = False
warnings.filterwarnings("ignore", module=r"(pydicom|pylibjpeg|libjpeg|openjpeg)\.")


@dataclass(frozen=True)
class Header:
    """The requested attributes of a header.

    Attributes:
        name: Name of the file in messages.
        syntax: Transfer syntax.
        dataset: The requested attributes that are present.
        body: Bytes of the data set, positioned at the pixel data.
        states_syntax: Whether the file states its transfer syntax. If not, it is that of the first
            attribute's encoding.
    """

    name: str
    syntax: UID
    dataset: Dataset
    body: io.BytesIO
    states_syntax: bool = True

    def text(self, keyword: str) -> str:
        """Return the first value of a text attribute; empty if it is missing."""
        value = self._first(keyword)
        return value.strip(" \0") if isinstance(value, str) else ""

    def term(self, keyword: str) -> str:
        """Return a defined term in capitals; empty if it is missing."""
        return self.text(keyword).upper()

    def number(self, keyword: str) -> float | None:
        """Return the first value of a numeric attribute; None if it is missing.

        Raises:
            ImageError: The value is not a finite number.
        """
        value = self._first(keyword)
        if value in (None, ""):
            return None
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise bad_header(self.name, f"{keyword} is not a number")
        return number

    def integer(self, keyword: str, default: int | None = None) -> int:
        """Return the first value of an integer attribute.

        Raises:
            ImageError: The attribute is missing and has no default, or is not an integer.
        """
        number = self.number(keyword)
        if number is None and default is not None:
            return default
        if number is None:
            raise bad_header(self.name, f"{keyword} is missing")
        if not number.is_integer():
            raise bad_header(self.name, f"{keyword} is not an integer")
        return int(number)

    def first_item(self, keyword: str) -> Dataset | None:
        """Return the first item of a sequence; None if it is missing or empty."""
        with damage_as_image_error(self.name):
            value = self.dataset.get(keyword)
            if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
                return None
            return value[0] if len(value) and isinstance(value[0], Dataset) else None

    @property
    def has_pixel_data(self) -> bool:
        """Whether the body begins with the tag of Pixel Data."""
        order = "<" if self.syntax.is_little_endian else ">"
        tag = struct.pack(f"{order}2H", PIXEL_DATA >> 16, PIXEL_DATA & 0xFFFF)
        return self.body.getbuffer()[self.body.tell() :][:4] == tag

    def _first(self, keyword: str) -> Any:
        with damage_as_image_error(self.name):
            value = self.dataset.get(keyword)
            if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
                return value[0] if len(value) else None
            return value


def read_header(name: str, content: bytes, keywords: Sequence[str] = PICTURE_KEYWORDS) -> Header:
    """Read the given attributes, up to the pixel data.

    Args:
        name: Name of the file in messages.
        content: Bytes of a DICOM file, with or without a preamble and file meta information.
        keywords: Attributes to read; others are skipped.

    Raises:
        ImageError: The file is damaged, or its transfer syntax is missing or unknown.
    """
    with damage_as_image_error(name):
        syntax, start, states_syntax = _read_meta(name, content)
        body = _LimitedReads(content)
        body.seek(start)
        if syntax.is_deflated:
            if start > _MAX_META_BYTES:
                raise bad_header(name, "its file meta information is too large")
            body = _LimitedReads(_inflate(name, memoryview(content)[start:]))
        dataset = read_dataset(
            body,
            is_implicit_VR=syntax.is_implicit_VR,
            is_little_endian=syntax.is_little_endian,
            stop_when=lambda tag, vr, length: tag >= _FIRST_PIXEL_TAG,
            specific_tags=[Tag(keyword) for keyword in keywords],
        )
        rest = io.BytesIO(body.getvalue())
        rest.seek(body.tell())
        return Header(name, syntax, dataset, rest, states_syntax)


def _read_meta(name: str, content: bytes) -> tuple[UID, int, bool]:
    """Return the transfer syntax, the start of the data set, and whether the file states both.

    A file may lack the preamble, or the file meta information too: the data set then begins the
    file, in the encoding of its first attribute.
    """
    begin = dicom_start(content)
    start = _LimitedReads(content)
    start.seek(begin)
    meta = read_dataset(
        start,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, vr, length: tag >> 16 != _META_GROUP,
        specific_tags=[Tag("TransferSyntaxUID")],
    )
    if start.tell() == begin and content[begin : begin + 1]:
        return _encoding_of(content[begin : begin + 8]), begin, False
    syntax = UID(str(meta.get("TransferSyntaxUID", "")))
    if not (syntax.is_transfer_syntax and syntax in _known_syntaxes()):
        raise bad_header(name, "its transfer syntax is missing or unknown")
    return syntax, start.tell(), True


def _encoding_of(element: bytes) -> UID:
    """Return the native transfer syntax in which the head of an attribute is encoded."""
    if not _VALUE_REPRESENTATION.fullmatch(element[4:6]):
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if element[1:2] == b"\0" else ExplicitVRBigEndian


@contextmanager
def unpacking(name: str, content: bytes) -> Iterator[None]:
    """Reserve the memory that a deflated data set needs, while the block runs.

    Raises:
        ImageError: It is larger than the memory for such data sets.
    """
    if uid.DeflatedExplicitVRLittleEndian.encode() not in content[: HEAD_BYTES + _MAX_META_BYTES]:
        yield
        return
    most_bytes = min(len(content) * _MAX_RATIO, MAX_UNPACKED_BYTES + _CHUNK_BYTES)
    with memory_budget().unpacked.reserve(name, most_bytes):
        yield


@contextmanager
def damage_as_image_error(name: str) -> Iterator[None]:
    """Replace any exception of a library over a damaged file by an ImageError.

    pydicom and its decoders raise almost any exception, even RecursionError and AttributeError,
    and their messages quote values, which must not be shown.
    """
    try:
        yield
    except ImageError:
        raise
    except Exception:
        raise ImageError(
            ImageProblem.TRUNCATED,
            f"{name} is a truncated or damaged DICOM file.",
            "Copy the file again from its source.",
        ) from None


def bad_header(name: str, reason: str) -> ImageError:
    """Return the error for a header that is incomplete or contradicts itself."""
    return ImageError(
        ImageProblem.BAD_HEADER,
        f"{name} has an invalid DICOM header: {reason}.",
        "Export it again, or convert it to PNG as a viewer shows it.",
    )


def unsupported(name: str, reason: str) -> ImageError:
    """Return the error for a kind of picture that is not supported."""
    return ImageError(
        ImageProblem.UNSUPPORTED,
        f"{name} is DICOM of an unsupported kind: {reason}.",
        "Convert it to PNG as a viewer shows it.",
    )


class _LimitedReads(io.BytesIO):
    """Bytes with a limited number of reads: millions of tiny attributes would take minutes."""

    left = _MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise ValueError("too many attributes")
        return super().read(size)


def _known_syntaxes() -> frozenset[str]:
    return frozenset(pydicom.uid.AllTransferSyntaxes)


def _inflate(name: str, deflated: memoryview) -> bytes:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    data = io.BytesIO()
    for start in range(0, len(deflated), _PIECE_BYTES):
        piece = bytes(deflated[start : start + _PIECE_BYTES])
        while piece and data.tell() <= MAX_UNPACKED_BYTES:
            data.write(inflate.decompress(piece, _CHUNK_BYTES))
            piece = inflate.unconsumed_tail
        if inflate.eof or piece:
            break
    too_large = data.tell() > MAX_UNPACKED_BYTES
    if too_large or not inflate.eof:
        raise ImageError(
            ImageProblem.TOO_LARGE if too_large else ImageProblem.TRUNCATED,
            f"{name} is deflated DICOM that is truncated, or unpacks to more than "
            f"{MAX_UNPACKED_BYTES // 1_000_000} MB.",
            "Copy the file again from its source.",
        )
    return data.getvalue()
