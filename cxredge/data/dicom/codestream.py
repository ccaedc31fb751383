"""Image size in the head of a compressed codestream, read before a decoder allocates memory."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_J2K_START = b"\xff\x4f\xff\x51"
_JPEG_START = b"\xff\xd8"
# Start of frame: ITU-T T.81 table B.1 without DHT, JPG and DAC; JPEG-LS (T.87) has 0xF7.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_MAX_TILES = 65_535  # ISO/IEC 15444-1, A.5.1
_WITHOUT_LENGTH = frozenset(range(0xD0, 0xD8)) | {0x01}


@dataclass(frozen=True)
class Codestream:
    """Head of a JPEG, JPEG-LS or JPEG 2000 codestream.

    Attributes:
        rows: Height in pixels.
        columns: Width in pixels.
        components: Number of samples per pixel.
        bits: Number of bits per sample.
    """

    rows: int
    columns: int
    components: int
    bits: int


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


def _read_j2k(data: bytes) -> Codestream:
    """Read the SIZ segment (ISO/IEC 15444-1, A.5.1)."""
    right, bottom, left, top = struct.unpack_from(">4I", data, 8)
    (components,) = struct.unpack_from(">H", data, 40)
    tile_width, tile_height = struct.unpack_from(">2I", data, 24)
    if tile_width * tile_height * _MAX_TILES < (right - left) * (bottom - top):
        raise ValueError("far too many tiles")
    return Codestream(bottom - top, right - left, components, (data[42] & 0x7F) + 1)


def _read_jpeg(data: bytes) -> Codestream:
    """Find and read the start of the frame (ITU-T T.81, B.2.2)."""
    position = 2
    while True:
        if data[position] != 0xFF:
            raise ValueError("a marker is missing")
        marker = data[position + 1]
        if marker == 0xFF:  # fill bytes
            position += 1
        elif marker in _FRAMES:
            bits, rows, columns, components = struct.unpack_from(">BHHB", data, position + 4)
            return Codestream(rows, columns, components, bits)
        elif marker in _WITHOUT_LENGTH:
            position += 2
        else:
            (length,) = struct.unpack_from(">H", data, position + 2)
            position += 2 + max(length, 2)
