"""Head of a compressed codestream, read before a decoder allocates memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_J2K_START = b"\xff\x4f\xff\x51"
_JPEG_START = b"\xff\xd8"
_JP2_START = b"\0\0\0\x0cjP  "
# Start of frame: ITU-T T.81 table B.1 without DHT, JPG and DAC; JPEG-LS (T.87) has 0xF7.
JPEG_LS_FRAME = 0xF7
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {JPEG_LS_FRAME}
_DCT_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC5, 0xC6, 0xC9, 0xCA, 0xCD, 0xCE})
PROGRESSIVE_FRAMES = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_APP0, _APP14, _SOS = 0xE0, 0xEE, 0xDA
_COD, _SOD = 0x52, 0x93
_MAX_TILES = 65_535  # ISO/IEC 15444-1, A.5.1
_MAX_BOXES = 64
_WITHOUT_LENGTH = frozenset(range(0xD0, 0xD8)) | {0x01}

RGB, YBR = "RGB", "YBR_FULL"


@dataclass(frozen=True)
class Codestream:
    """Head of a JPEG, JPEG-LS or JPEG 2000 codestream.

    Attributes:
        rows: Height in pixels.
        columns: Width in pixels.
        components: Number of samples per pixel.
        bits: Number of bits per sample.
        is_dct: Whether it is JPEG with a discrete cosine transform: sequential or progressive.
        is_jpeg_ls: Whether it is JPEG-LS.
        is_progressive: Whether it is JPEG whose scans each refine the whole picture.
        decoded_colour: Colour space of three decoded samples, ``RGB`` or ``YBR_FULL``, without a
            conversion by the decoder for JPEG and with it for JPEG 2000; empty if the codestream
            does not state it.
    """

    rows: int
    columns: int
    components: int
    bits: int
    is_dct: bool = False
    is_jpeg_ls: bool = False
    is_progressive: bool = False
    decoded_colour: str = ""


def read_codestream(data: bytes) -> Codestream:
    """Read the head of a codestream.

    Raises:
        ValueError: The data are none of the three formats, or the head is truncated.
    """
    try:
        if data.startswith(_J2K_START):
            return _read_j2k(data)
        if data.startswith(_JPEG_START):
            return _read_jpeg(data)
    except (struct.error, IndexError):
        raise ValueError("the head of the codestream is truncated") from None
    raise ValueError("neither JPEG nor JPEG 2000")


def without_jp2_boxes(data: bytes) -> bytes:
    """Return the JPEG 2000 codestream of a JP2 file (ISO/IEC 15444-1, I.4); other data unchanged.

    Raises:
        ValueError: The file contains no codestream.
    """
    if not data.startswith(_JP2_START):
        return data
    position = 0
    for _ in range(_MAX_BOXES):
        if position + 16 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, position)
        head = 8
        if length == 1:
            (length,), head = struct.unpack_from(">Q", data, position + 8), 16
        end = position + length if length else len(data)
        if kind == b"jp2c":
            return data[position + head : end]
        position = max(end, position + head)
    raise ValueError("no codestream in a JP2 file")


def _read_j2k(data: bytes) -> Codestream:
    """Read the segments SIZ and COD (ISO/IEC 15444-1, A.5.1 and A.6.1)."""
    right, bottom, left, top = struct.unpack_from(">4I", data, 8)
    (components,) = struct.unpack_from(">H", data, 40)
    tile_width, tile_height = struct.unpack_from(">2I", data, 24)
    if tile_width * tile_height * _MAX_TILES < (right - left) * (bottom - top):
        raise ValueError("far too many tiles")
    # Decoders undo the multiple component transform even if a DICOM header states none.
    colour = RGB if _has_component_transform(data) else ""
    return Codestream(
        bottom - top, right - left, components, (data[42] & 0x7F) + 1, decoded_colour=colour
    )


def _has_component_transform(data: bytes) -> bool:
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF and data[position + 1] != _SOD:
        if data[position + 1] == _COD:
            return data[position + 8] == 1
        (length,) = struct.unpack_from(">H", data, position + 2)
        position += 2 + max(length, 2)
    return False


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the marker and the position of each marker segment before the first scan's data.

    Raises:
        ValueError: A marker is missing.
        IndexError, struct.error: The data end before the first scan.
    """
    position, marker = 2, 0
    while marker != _SOS:
        if data[position] != 0xFF:
            raise ValueError("a marker is missing")
        marker = data[position + 1]
        if marker == 0xFF:  # fill bytes
            position += 1
            continue
        yield marker, position
        if marker in _WITHOUT_LENGTH:
            position += 2
        else:
            (length,) = struct.unpack_from(">H", data, position + 2)
            position += 2 + max(length, 2)


def _read_jpeg(data: bytes) -> Codestream:
    """Read the start of the frame (ITU-T T.81, B.2.2) and the markers about colour before it."""
    jfif, adobe_transform = False, -1
    for marker, position in jpeg_segments(data):
        if marker in _FRAMES:
            bits, rows, columns, components = struct.unpack_from(">BHHB", data, position + 4)
            ids = data[position + 10 : position + 19 : 3]
            is_dct = marker in _DCT_FRAMES
            colour = ""
            if is_dct and components == 3:
                colour = _jpeg_colour(jfif, adobe_transform, ids)
            is_ls = marker == JPEG_LS_FRAME
            progressive = marker in PROGRESSIVE_FRAMES
            return Codestream(rows, columns, components, bits, is_dct, is_ls, progressive, colour)
        body = data[position + 4 : position + 16]
        jfif = jfif or (marker == _APP0 and body.startswith(b"JFIF\0"))
        if marker == _APP14 and body.startswith(b"Adobe") and len(body) == 12:
            adobe_transform = body[11]
    raise ValueError("no frame before the first scan")


def _jpeg_colour(jfif: bool, adobe_transform: int, component_ids: bytes) -> str:
    """Return the colour space of three components by libjpeg's rules (jdapimin.c)."""
    if jfif:
        return YBR
    if adobe_transform >= 0:
        return RGB if adobe_transform == 0 else YBR
    return RGB if component_ids == b"RGB" else YBR
