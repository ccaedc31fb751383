"""Limit on the scans of a JPEG, which each visit every block of the image.

A file of a few kB may hold thousands of empty scans of a large image; libjpeg decodes them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from cxredge.errors import ImageError, ImageProblem

MAX_SCANS = 100
"""Encoders write up to about 20 scans."""

JPEG_MAGIC = b"\xff\xd8\xff"
_START_OF_SCAN = b"\xff\xda"
_END = 0xD9
_MOST_COUNTED = 1000
_WITHOUT_LENGTH = frozenset(range(0xD0, 0xD9)) | {0x01}
# A marker within the data of a scan: neither a stuffed zero nor a restart nor a fill byte.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def check_scans(name: str, content: bytes) -> None:
    """Check the number of scans of a JPEG; of any other file nothing is checked.

    Args:
        name: Name of the file in messages.
        content: Bytes of the file.

    Raises:
        ImageError: There are more than ``MAX_SCANS``.
    """
    if not content.startswith(JPEG_MAGIC) or content.count(_START_OF_SCAN) <= MAX_SCANS:
        return
    if count_scans(content) > MAX_SCANS:
        raise ImageError(
            ImageProblem.UNSUPPORTED,
            f"{name} is a JPEG of more than {MAX_SCANS} scans.",
            "Convert it to PNG as a viewer shows it.",
        )


def count_scans(content: bytes) -> int:
    """Return the number of scans of the first picture (ITU-T T.81, B.2), at most 1000."""
    scans = (marker for marker, _ in _segments(content) if marker == _START_OF_SCAN[1])
    return sum(1 for _ in islice(scans, _MOST_COUNTED))


def end_of_picture(content: bytes) -> int:
    """Return the position of the marker that ends the first picture, or the end of the file.

    A second picture, or a maker's notes, may follow it.
    """
    found = (position for marker, position in _segments(content) if marker == _END)
    return next(found, len(content))


def _segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and position of each segment with a length, and of the end; skip scan data."""
    position = 2
    while position + 2 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # fill bytes
            position += 1
            continue
        if marker in _WITHOUT_LENGTH:
            position += 2
            continue
        yield marker, position
        if marker == _END:
            return
        position += 2 + max(2, int.from_bytes(content[position + 2 : position + 4], "big"))
        if marker == _START_OF_SCAN[1]:
            found = _MARKER.search(content, position)
            position = found.start() if found else len(content)
