"""The stored values of a DICOM picture, whatever it is compressed by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.encaps import generate_frames
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import RLELossless

from cxredge.data.dicom.codestream import read_codestream
from cxredge.data.dicom.header import PIXEL_DATA, Header, bad_header, damage_is_an_image_error
from cxredge.data.dicom.run_lengths import decode_run_lengths
from cxredge.data.sources import check_size
from cxredge.errors import ImageError, ImageProblem

_NATIVE = (
    "1.2.840.10008.1.2",  # implicit little endian
    "1.2.840.10008.1.2.1",  # explicit little endian
    "1.2.840.10008.1.2.1.99",  # deflated
    "1.2.840.10008.1.2.2",  # explicit big endian
)
# Which plugin decodes does not depend on what else is installed: lossy pixels could differ.
_BY_PYLIBJPEG = (
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.51",  # JPEG extended
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.201",  # HTJ2K lossless
    "1.2.840.10008.1.2.4.202",  # HTJ2K lossless, RPCL
    "1.2.840.10008.1.2.4.203",  # HTJ2K
)
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
_EXCESS_BYTES = 2**20

Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Layout:
    """How samples lie in the pixel data.

    Attributes:
        rows: Pixels.
        columns: Pixels.
        components: 1 of grey, 3 of colour.
        photometric: Interpretation of the components.
        allocated: Bits of a sample, 8 or 16.
        stored: Bits of a sample that count.
        shift: Unused bits below them.
        signed: Whether they are two's complement.
        planar: Whether components lie one after the other.
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
        """Bytes of the picture when it is not compressed."""
        return self.rows * self.columns * self.components * self.allocated // 8


def read_layout(header: Header) -> Layout:
    """Return how samples lie, after checking that they can be read.

    Raises:
        ImageError: The picture is too large or too small, not grey and no ordinary colour, or the
            header is incomplete or contradicts itself.
    """
    rows, columns = header.integer("Rows"), header.integer("Columns")
    check_size(header.name, columns, rows)
    photometric = header.term("PhotometricInterpretation")
    if photometric not in (*_GREY, *_COLOUR):
        known = photometric if photometric in ("PALETTE COLOR", "XYB") else "none that is known"
        raise _unsupported(header, f"its photometric interpretation is {known}")
    components = header.integer("SamplesPerPixel", 1)
    allocated, stored = header.integer("BitsAllocated"), header.integer("BitsStored")
    shift = header.integer("HighBit", stored - 1) + 1 - stored
    if components != (1 if photometric in _GREY else 3):
        raise bad_header(header.name, f"{components} samples a pixel contradict {photometric}")
    if allocated not in (8, 16) or not (1 <= stored <= allocated - shift and shift >= 0):
        raise bad_header(header.name, f"{stored} bits stored, {allocated} allocated")
    if components == 3 and (allocated, stored) != (8, 8):
        raise _unsupported(header, f"it has colours of {stored} bits")
    compressed = header.syntax.is_compressed and not header.syntax.is_deflated
    if compressed and shift:
        raise bad_header(header.name, "HighBit is not that of compressed samples")
    signed = header.integer("PixelRepresentation") == 1
    planar = components == 3 and header.integer("PlanarConfiguration", 0) == 1
    return Layout(rows, columns, components, photometric, allocated, stored, shift, signed, planar)


def read_samples(header: Header, layout: Layout) -> tuple[Samples, str]:
    """Decode the picture.

    Returns:
        Samples as unsigned numbers with all their allocated bits, (rows, columns) or (rows,
        columns, 3), and the photometric interpretation they have now.

    Raises:
        ImageError: There are none, they are cut off or damaged, or compressed in a way that is not
            read.
    """
    syntax = header.syntax
    if syntax not in (*_NATIVE, *_BY_PYLIBJPEG, RLELossless):
        raise _unsupported(header, f"it is written as {syntax.name}")
    with damage_is_an_image_error(header.name):
        data, vr = _pixel_data(header, layout)
        if syntax in _NATIVE:
            return _decoded(header, layout, data, pixel_vr=vr)
        if len(data) > 2 * layout.size_bytes + _EXCESS_BYTES:
            raise bad_header(header.name, "there is far more pixel data than pixels")
        frame = next(generate_frames(data, number_of_frames=1))
        if syntax == RLELossless:
            return _from_planes(frame, layout), layout.photometric
        _check_codestream(header, layout, frame)
        return _decoded(header, layout, data, decoding_plugin="pylibjpeg")


def _pixel_data(header: Header, layout: Layout) -> tuple[bytes, str]:
    found = read_dataset(
        header.body,
        is_implicit_VR=header.syntax.is_implicit_VR,
        is_little_endian=header.syntax.is_little_endian,
        stop_when=lambda tag, vr, length: tag != PIXEL_DATA,
        specific_tags=[PIXEL_DATA],
    )
    element = found.get_item(PIXEL_DATA) if PIXEL_DATA in found else None
    if element is None and header.has_pixel_data:
        raise ValueError("the pixel data does not end")
    if element is None or not element.value:
        raise ImageError(
            ImageProblem.NO_PIXELS,
            f"{header.name} is DICOM without pixel data.",
            "Leave it out, or export it again.",
        )
    native = header.syntax in _NATIVE
    if native and len(element.value) < layout.size_bytes * (
        2 / 3 if layout.photometric == "YBR_FULL_422" else 1
    ):
        raise ValueError("fewer bytes than pixels")
    return element.value, element.VR or "OW"


def _decoded(header: Header, layout: Layout, data: bytes, **options: Any) -> tuple[Samples, str]:
    options |= {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": layout.components,
        "photometric_interpretation": layout.photometric,
        "planar_configuration": int(layout.planar),
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
        "pixel_keyword": "PixelData",
        "correct_unused_bits": False,
    }
    array, properties = get_decoder(header.syntax).as_array(data, index=0, raw=True, **options)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    samples: Samples = native.view(f"u{array.itemsize}")
    return samples, str(properties["photometric_interpretation"])


def _from_planes(frame: bytes, layout: Layout) -> Samples:
    planes = layout.components * layout.allocated // 8
    found = decode_run_lengths(frame, layout.rows, layout.columns, planes)
    if layout.components == 3:
        return np.moveaxis(found, 0, -1)
    if layout.allocated == 8:
        return found.reshape(layout.rows, layout.columns)
    # High bytes first is big endian.
    pairs = np.ascontiguousarray(np.moveaxis(found, 0, -1))
    return pairs.view(">u2")[..., 0].astype(np.uint16)


def _check_codestream(header: Header, layout: Layout, frame: bytes) -> None:
    """Refuse a codestream of another size before a decoder makes room for it."""
    inside = read_codestream(frame)
    if (inside.rows, inside.columns) != (layout.rows, layout.columns):
        raise bad_header(
            header.name,
            f"it says {layout.columns}x{layout.rows} pixels where there are "
            f"{inside.columns}x{inside.rows}",
        )
    if inside.components != layout.components or inside.bits > layout.allocated:
        raise bad_header(
            header.name, f"{inside.components} components of {inside.bits} bits were not expected"
        )


def _unsupported(header: Header, why: str) -> ImageError:
    return ImageError(
        ImageProblem.UNSUPPORTED,
        f"{header.name} is DICOM that is not read: {why}.",
        "Convert it to PNG as a viewer shows it.",
    )
