"""Layout of the samples in the pixel data, as the header states it."""

from __future__ import annotations

from dataclasses import dataclass

from cxredge.data.dicom.header import Header, bad_header, unsupported
from cxredge.data.sources import check_size

_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")

_COPIES = 6
"""Copies of the samples, also in a decoder's 32 bits, that are in memory at the same time."""


@dataclass(frozen=True)
class Layout:
    """Layout of the samples in the pixel data.

    Attributes:
        rows: Height in pixels.
        columns: Width in pixels.
        components: Number of samples per pixel: 1 for grey, 3 for colour.
        photometric: Photometric interpretation of the components.
        allocated: Number of bits per sample in the pixel data, 8 or 16.
        stored: Number of bits per sample that are used.
        shift: Number of unused bits below them.
        signed: Whether samples are two's complement.
        planar: Whether each component is stored as a plane.
    """

    rows: int
    columns: int
    components: int
    photometric: str
    allocated: int
    stored: int
    shift: int
    signed: bool
    planar: bool

    @property
    def size_bytes(self) -> int:
        """Size of the uncompressed picture in bytes."""
        return self.rows * self.columns * self.components * self.allocated // 8

    @property
    def decoding_bytes(self) -> int:
        """Memory that decoding needs at most: copies of the samples, and their grey."""
        return _COPIES * self.size_bytes + self.rows * self.columns


def read_layout(header: Header) -> Layout:
    """Return the layout of the samples, after checking that they can be read.

    Raises:
        ImageError: The picture is too large or too small, has an unsupported photometric
            interpretation, or the header is incomplete or inconsistent.
    """
    rows, columns = header.integer("Rows"), header.integer("Columns")
    check_size(header.name, columns, rows)
    photometric = header.term("PhotometricInterpretation")
    if photometric not in (*_GREY, *_COLOUR):
        known = photometric if photometric in ("PALETTE COLOR", "XYB") else "missing or unknown"
        raise unsupported(header.name, f"its photometric interpretation is {known}")
    components = header.integer("SamplesPerPixel", 1)
    allocated, stored = header.integer("BitsAllocated"), header.integer("BitsStored")
    shift = header.integer("HighBit", stored - 1) + 1 - stored
    if components != (1 if photometric in _GREY else 3):
        raise bad_header(header.name, f"{components} samples per pixel contradict {photometric}")
    if allocated not in (8, 16) or not (1 <= stored <= allocated - shift and shift >= 0):
        raise bad_header(header.name, f"{stored} bits stored, {allocated} allocated")
    if components == 3 and (allocated, stored) != (8, 8):
        raise unsupported(header.name, f"its colours have {stored} bits")
    compressed = header.syntax.is_compressed and not header.syntax.is_deflated
    if compressed and shift:
        raise bad_header(header.name, "HighBit is invalid for compressed samples")
    signed = header.integer("PixelRepresentation") == 1
    planar = components == 3 and header.integer("PlanarConfiguration", 0) == 1
    return Layout(rows, columns, components, photometric, allocated, stored, shift, signed, planar)
