"""Whether the data of a JPEG are complete.

If a JPEG's data end before its picture does, decoders fill the rest and report nothing. Only then
do bytes that follow the data change the picture.
"""

from __future__ import annotations

import io
import re

from PIL import Image, ImageChops

from cxredge.data.codestream import JPEG_LS_FRAME, PROGRESSIVE_FRAMES, jpeg_segments
from cxredge.data.jpeg_scans import end_of_picture

_FULL_SIZE = 65_535
_FILLED = (127, 128)  # the grey of the fill, and its inverse in CMYK
# Within a scan, 0xFF is followed by 0, by a restart marker or by another 0xFF.
_END_OF_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# In JPEG-LS, 0xFF is followed by a bit 0 (T.87, C.2.1).
_END_OF_LS_SCAN = re.compile(rb"\xff[\x80-\xfe]")
_MORE_LS = b"\x55\x1a\x36\x43" * 4
_MORE = b"\x55\x9a\x36\xc3" * 4
# Data for a decoder that expects a restart marker next, whichever it is.
_INSERTED = _MORE + b"".join(bytes([0xFF, 0xD0 + number]) + _MORE for number in range(8))


def is_complete(content: bytes, image: Image.Image, draft_size: int) -> bool:
    """Return whether a JPEG's data cover the whole picture.

    Args:
        content: Bytes of a JPEG file.
        image: The file as Pillow decoded it, before it is turned. If it is progressive, it is
            decoded twice more, in full size, as small scales do not show the last scans; any other
            file once more if its last pixel may be filled.
        draft_size: The argument of ``draft`` with which it was decoded.
    """
    if image.info.get("progressive"):
        draft_size = _FULL_SIZE
    elif not _may_be_filled(image):
        return True
    try:
        longer = lengthen(content)
        expected = _decode(content, draft_size) if draft_size == _FULL_SIZE else image
        return ImageChops.difference(expected, _decode(longer, draft_size)).getbbox() is None
    except (OSError, SyntaxError, ValueError):
        return False


def lengthen(content: bytes) -> bytes:
    """Return a JPEG or JPEG-LS with bytes after its data: of all scans if it is progressive.

    Raises:
        ValueError: The file has no scan.
    """
    segments = list(jpeg_segments(content))
    markers = {marker for marker, _ in segments}
    is_ls = JPEG_LS_FRAME in markers
    if markers & PROGRESSIVE_FRAMES:
        end = end_of_picture(content)
    else:
        _, scan = segments[-1]
        found = (_END_OF_LS_SCAN if is_ls else _END_OF_SCAN).search(content, scan + 2)
        end = found.start() if found else len(content)
    return content[:end] + (_MORE_LS if is_ls else _INSERTED) + content[end:]


def _decode(content: bytes, draft_size: int) -> Image.Image:
    image: Image.Image = Image.open(io.BytesIO(content), formats=("JPEG",))
    image.draft("L", (draft_size, draft_size))
    image.load()
    return image


def _may_be_filled(image: Image.Image) -> bool:
    width, height = image.size
    last = image.getpixel((width - 1, height - 1))
    return all(value in _FILLED for value in (last if isinstance(last, tuple) else (last,)))
