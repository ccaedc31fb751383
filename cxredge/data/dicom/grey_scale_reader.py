"""Reader of a :class:`GreyScale` from a DICOM header."""

from __future__ import annotations

import sys

import numpy as np
from pydicom.dataset import Dataset

from cxredge.data.dicom.grey_scale import (
    GreyScale,
    LookupTable,
    Rescale,
    Values,
    Window,
    WindowShape,
)
from cxredge.data.dicom.header import Header, bad_header, damage_as_image_error

MAX_BITS = 16
_INVERTED = {"MONOCHROME1": True, "MONOCHROME2": False}
_SHAPES = {"": None, "IDENTITY": False, "INVERSE": True}


def read_grey_scale(header: Header) -> GreyScale:
    """Return the mapping of stored values to grey.

    A VOI LUT takes precedence over a window, and the first over further ones: the standard leaves
    the choice open, and viewers choose so.

    Raises:
        ImageError: The header is incomplete or contradicts itself.
    """
    bits, allocated = header.integer("BitsStored"), header.integer("BitsAllocated")
    if allocated not in (8, 16) or not 1 <= bits <= allocated:
        raise bad_header(
            header.name, f"{bits} bits stored in {allocated} allocated; 8 or 16 are supported"
        )
    signed = header.integer("PixelRepresentation") == 1
    modality = _modality(header)
    return GreyScale(bits, signed, _is_inverted(header), modality, _voi(header), _padding(header))


def _is_inverted(header: Header) -> bool:
    inverted = _INVERTED[header.term("PhotometricInterpretation")]
    shape = header.term("PresentationLUTShape")
    if _SHAPES.get(shape) not in (None, inverted) or shape not in _SHAPES:
        # Viewers disagree about such files, and an inverted X-ray still looks like an X-ray.
        raise bad_header(
            header.name,
            "PresentationLUTShape contradicts PhotometricInterpretation, so that the picture may "
            "be inverted",
        )
    return inverted


def _modality(header: Header) -> Rescale | LookupTable:
    if (item := header.first_item("ModalityLUTSequence")) is not None:
        return _lookup_table(header, item, header.integer("PixelRepresentation") == 1)
    slope, intercept = header.number("RescaleSlope"), header.number("RescaleIntercept")
    if slope == 0:
        raise bad_header(header.name, "RescaleSlope is 0")
    return Rescale(1.0 if slope is None else slope, intercept or 0.0)


def _voi(header: Header) -> Window | LookupTable | None:
    if (item := header.first_item("VOILUTSequence")) is not None:
        below_zero = (
            header.integer("PixelRepresentation") == 1
            or (header.number("RescaleIntercept") or 0) < 0
        )
        return _lookup_table(header, item, below_zero)
    centre, width = header.number("WindowCenter"), header.number("WindowWidth")
    if centre is None and width is None:
        return None
    if centre is None or width is None:
        raise bad_header(header.name, "WindowCenter or WindowWidth is missing")
    try:
        shape = WindowShape(header.term("VOILUTFunction") or "LINEAR")
    except ValueError:
        raise bad_header(header.name, "VOILUTFunction is unknown") from None
    if width <= 0 or (shape is WindowShape.LINEAR and width < 1):
        raise bad_header(header.name, f"WindowWidth is {width:g}")
    return Window(centre, width, shape)


def _lookup_table(header: Header, item: Dataset, below_zero: bool) -> LookupTable:
    """Read a table, whose entries are numbers or bytes with 8 or 16 bits per entry.

    Args:
        header: Header of the file.
        item: The table's sequence item.
        below_zero: Whether the first mapped value may be negative.
    """
    with damage_as_image_error(header.name):
        count, first, bits = (int(value) for value in item.LUTDescriptor)
        count = count & 0xFFFF or 65536
        if below_zero and first > 0x7FFF:
            first -= 65536
        entries = _entries(item.LUTData, count, header.syntax.is_little_endian)
    if not 1 <= bits <= MAX_BITS or len(entries) < count:
        raise bad_header(
            header.name,
            f"a lookup table of {bits} bits has {len(entries)} entries; expected {count} of at "
            f"most {MAX_BITS} bits",
        )
    return LookupTable(first, entries[:count], _depth(bits, int(entries[:count].max())))


def _depth(stated: int, highest: int) -> int:
    """Return the bits per entry that the highest entry shows if the descriptor is wrong.

    Some modalities state the 16 bits in which entries are stored, not the range that they use, and
    some state fewer bits than the entries have.
    """
    used = highest.bit_length()
    return min(max(used, 8), stated) if stated == MAX_BITS else max(used, stated)


def _entries(data: bytes | list[int] | int, count: int, little_endian: bool) -> Values:
    if isinstance(data, int):
        data = [data]
    if not isinstance(data, bytes):
        return np.array(data, dtype=np.int64).astype(np.uint16).astype(np.float64)
    order = "little" if little_endian else "big"
    kind = np.uint8 if len(data) < 2 * count else np.uint16
    found = np.frombuffer(data, kind, len(data) // np.dtype(kind).itemsize)
    return (found if order == sys.byteorder else found.byteswap()).astype(np.float64)


def _padding(header: Header) -> tuple[int, int] | None:
    """Return the range of the padding, lowest first."""
    if header.number("PixelPaddingValue") is None:
        return None
    signed = header.integer("PixelRepresentation") == 1
    one = _of_16_bits(header.integer("PixelPaddingValue"), signed)
    other = header.number("PixelPaddingRangeLimit")
    two = one if other is None else _of_16_bits(int(other), signed)
    return min(one, two), max(one, two)


def _of_16_bits(value: int, signed: bool) -> int:
    """Return the value of a 16-bit attribute, also if the header gives it the wrong sign."""
    value &= 0xFFFF
    return value - 0x10000 if signed and value >= 0x8000 else value
