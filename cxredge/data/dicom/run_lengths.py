"""RLE Lossless (PS3.5, annex G): byte planes, each packed by run lengths."""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from PIL import Image

_HEAD = struct.Struct("<16I")


def decode_run_lengths(frame: bytes, rows: int, columns: int, planes: int) -> npt.NDArray[np.uint8]:
    """Return the byte planes of one frame.

    Pillow's PackBits decoder unpacks them; it is given a plane as one long row, so that a run
    which crosses the end of a row is no matter, and stops when the plane is full.

    Returns:
        uint8 (planes, rows, columns); of 16-bit values the high bytes come first.

    Raises:
        ValueError: Another number of planes, or not enough data.
    """
    try:
        count, *offsets = _HEAD.unpack_from(frame)
    except struct.error:
        raise ValueError("no table of segments") from None
    if count != planes:
        raise ValueError(f"{count} planes; expected {planes}")
    bounds = [*offsets[:count], len(frame)]
    found = np.empty((planes, rows, columns), np.uint8)
    for plane, (start, end) in enumerate(pairwise(bounds)):
        row = Image.frombytes("L", (rows * columns, 1), frame[start:end], "packbits", "L")
        found[plane] = np.asarray(row).reshape(rows, columns)
    return found
