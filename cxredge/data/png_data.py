"""Whether the data of a PNG are complete.

If the compressed data of a PNG end, without damage, before its picture does, Pillow leaves the rest
zero and reports nothing.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

_HEADER = struct.Struct(">II2B3x")
_HEADER_AT = 16
_INTERLACED_AT = 28
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# First column, first row, step of columns and step of rows of each pass (ISO/IEC 15948, 8.2).
_PASSES = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # fmt: skip
_WHOLE = ((0, 0, 1, 1),)
_PIECE_BYTES = 2**20


def has_all_rows(content: bytes, image: Image.Image) -> bool:
    """Return whether a PNG's data cover the whole picture.

    Args:
        content: Bytes of a PNG file.
        image: The file as Pillow decoded it. Its data are counted only if its last row is zero, or
            if it is interlaced.
    """
    last = image.crop((0, image.height - 1, image.width, image.height))
    if content[_INTERLACED_AT] == 0 and np.asarray(last).any():
        return True
    return _unpacked_bytes(content) >= _expected_bytes(content)


def _expected_bytes(content: bytes) -> int:
    """Return the size of the rows, each behind the byte of its filter."""
    width, height, depth, colour = _HEADER.unpack_from(content, _HEADER_AT)
    expected = 0
    for left, top, across, down in _PASSES if content[_INTERLACED_AT] else _WHOLE:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            expected += rows * (1 + (columns * depth * _CHANNELS[colour] + 7) // 8)
    return expected


def _unpacked_bytes(content: bytes) -> int:
    inflate, unpacked = zlib.decompressobj(), 0
    for chunk in _image_data(content):
        rest = chunk
        while rest and not inflate.eof:
            unpacked += len(inflate.decompress(rest, _PIECE_BYTES))
            rest = inflate.unconsumed_tail
    return unpacked


def _image_data(content: bytes) -> Iterator[bytes]:
    """Yield the data of each IDAT chunk."""
    position = 8
    while position + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        if kind == b"IDAT":
            yield content[position + 8 : position + 8 + length]
        position += 12 + length
