"""The stored values of a DICOM picture, in any supported transfer syntax."""

from __future__ import annotations

import struct
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import uid
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder

from cxredge.data.codestream import Codestream, read_codestream, without_jp2_boxes
from cxredge.data.dicom.header import (
    PIXEL_DATA,
    Header,
    bad_header,
    damage_as_image_error,
    unsupported,
)
from cxredge.data.dicom.layout import Layout
from cxredge.data.jpeg_data import lengthen
from cxredge.data.jpeg_scans import check_scans
from cxredge.errors import ImageError, ImageProblem

_NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)
# The decoder plugin is fixed, because lossy pixels may differ between plugins.
_BY_PYLIBJPEG = (
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.HTJ2K,
)
_EXCESS_BYTES = 2**20
_JPEG_START = b"\xff\xd8"
_FILL_SPREAD = 2
_UNDEFINED_LENGTH = 0xFFFFFFFF
_RLE_HEAD = struct.Struct("<16I")

Samples = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


def read_samples(header: Header, layout: Layout) -> tuple[Samples, str]:
    """Decode the picture.

    Returns:
        Samples as unsigned numbers with all their allocated bits, (rows, columns) or (rows,
        columns, 3); and the photometric interpretation after decoding.

    Raises:
        ImageError: The pixel data are missing, truncated, damaged, or in an unsupported transfer
            syntax.
    """
    syntax = header.syntax
    if syntax not in (*_NATIVE, *_BY_PYLIBJPEG, uid.RLELossless):
        raise unsupported(header.name, f"its transfer syntax is {syntax.name}")
    with damage_as_image_error(header.name):
        data, vr = _read_pixel_data(header, layout)
        if syntax in _NATIVE:
            return _decode(header, layout, data, pixel_vr=vr)
        if len(data) > 2 * layout.size_bytes + _EXCESS_BYTES:
            raise bad_header(header.name, "its pixel data are far larger than the image")
        frame = next(generate_frames(data, number_of_frames=1))
        if syntax == uid.RLELossless:
            return _decode_rle(frame, layout), layout.photometric
        return _decode_codestream(header, layout, frame)


def _read_pixel_data(header: Header, layout: Layout) -> tuple[bytes, str]:
    """Return the value of Pixel Data and its value representation."""
    dataset = read_dataset(
        header.body,
        is_implicit_VR=header.syntax.is_implicit_VR,
        is_little_endian=header.syntax.is_little_endian,
        stop_when=lambda tag, vr, length: tag != PIXEL_DATA,
        specific_tags=[PIXEL_DATA],
    )
    element = dataset.get_item(PIXEL_DATA) if PIXEL_DATA in dataset else None
    if element is None and header.has_pixel_data:
        raise ValueError("the end of the pixel data is missing")
    if element is None or not element.value:
        raise ImageError(
            ImageProblem.NO_PIXELS,
            f"{header.name} is DICOM without pixel data.",
            "Leave it out, or export it again.",
        )
    native = header.syntax in _NATIVE
    if native and _has_undefined_length(element):
        raise bad_header(
            header.name,
            "its pixel data are compressed, but the transfer syntax is "
            + (header.syntax.name if header.states_syntax else "missing"),
        )
    if native and len(element.value) < layout.size_bytes * (
        2 / 3 if layout.photometric == "YBR_FULL_422" else 1
    ):
        raise ValueError("the pixel data are shorter than the image")
    if native:
        _check_end(header, layout, memoryview(element.value))
    return element.value, element.VR or "OW"


def _check_end(header: Header, layout: Layout, data: memoryview) -> None:
    """Refuse pixels behind the picture; padding, of one byte's value, may follow it.

    Raises:
        ImageError: The header states fewer pixels, or smaller ones, than there are.
    """
    rest = data[layout.size_bytes :]
    row_bytes = layout.size_bytes // layout.rows
    if len(rest) >= row_bytes and rest != bytes(rest[:1]) * len(rest):
        raise bad_header(
            header.name,
            f"it states {layout.columns}x{layout.rows} pixels of {layout.components} samples of "
            f"{layout.allocated} bits, {layout.size_bytes} bytes, but {len(data)} bytes are there",
        )


def _has_undefined_length(element: DataElement | RawDataElement) -> bool:
    if isinstance(element, DataElement):
        return element.is_undefined_length
    return element.length == _UNDEFINED_LENGTH


def _decode(header: Header, layout: Layout, data: bytes, **options: Any) -> tuple[Samples, str]:
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
    # Some decoders return samples of at most 8 bits as bytes even if the header states more.
    native = array.astype(f"{array.dtype.kind}{layout.allocated // 8}", copy=False)
    samples: Samples = native.view(f"u{native.itemsize}")
    return samples, str(properties["photometric_interpretation"])


def _decode_codestream(header: Header, layout: Layout, frame: bytes) -> tuple[Samples, str]:
    """Decode JPEG, JPEG-LS or JPEG 2000; the codestream states its depth and colours itself."""
    frame = without_jp2_boxes(frame)
    check_scans(header.name, frame)
    inside = read_codestream(frame)
    _check_codestream(header, layout, inside)
    container = replace(layout, planar=False)  # decoders return pixel after pixel
    if inside.bits <= 8 and frame.startswith(_JPEG_START):
        container = replace(container, allocated=8, stored=min(layout.stored, 8))
    samples, photometric = _decode(
        header, container, encapsulate([frame]), decoding_plugin="pylibjpeg"
    )
    hides_its_end = inside.is_jpeg_ls or inside.is_progressive
    if frame.startswith(_JPEG_START) and (hides_its_end or _may_be_filled(samples)):
        longer = encapsulate([lengthen(frame)])
        again, _ = _decode(header, container, longer, decoding_plugin="pylibjpeg")
        if not np.array_equal(samples, again):
            raise ValueError("the data end before the picture does")
    wide: Samples = samples.astype(f"u{layout.allocated // 8}", copy=False)
    return wide, inside.decoded_colour or photometric


def _decode_rle(frame: bytes, layout: Layout) -> Samples:
    """Decode RLE Lossless (PS3.5, annex G): byte planes, each compressed by PackBits.

    Pillow's PackBits decoder is several times faster than pydicom's. It decodes a plane as one long
    row, so that runs may cross the end of a row, and stops when the plane is full.
    """
    planes = layout.components * layout.allocated // 8
    count, *offsets = _RLE_HEAD.unpack_from(frame)
    if count != planes:
        raise ValueError(f"{count} planes; expected {planes}")
    decoded = np.empty((planes, layout.rows, layout.columns), np.uint8)
    for plane, (start, end) in enumerate(pairwise([*offsets[:count], len(frame)])):
        row = Image.frombytes("L", (decoded[plane].size, 1), frame[start:end], "packbits", "L")
        decoded[plane] = np.asarray(row).reshape(decoded[plane].shape)
    if layout.components == 3:
        return np.moveaxis(decoded, 0, -1)
    if layout.allocated == 8:
        return decoded.reshape(layout.rows, layout.columns)
    # The planes are ordered from the high bytes to the low bytes, which is big endian.
    pairs = np.ascontiguousarray(np.moveaxis(decoded, 0, -1))
    return pairs.view(">u2")[..., 0].astype(np.uint16)


def _may_be_filled(samples: Samples) -> bool:
    """Return whether the last row can be a decoder's fill: constant, or a copy of the one above."""
    last = samples[-1].reshape(samples.shape[1], -1)
    return bool((np.ptp(last, axis=0) <= _FILL_SPREAD).all()) or np.array_equal(*samples[-2:])


def _check_codestream(header: Header, layout: Layout, inside: Codestream) -> None:
    """Refuse a codestream of a different size before a decoder allocates memory for it."""
    if (inside.rows, inside.columns) != (layout.rows, layout.columns):
        raise bad_header(
            header.name,
            f"it states {layout.columns}x{layout.rows} pixels, but the codestream has "
            f"{inside.columns}x{inside.rows}",
        )
    if inside.components != layout.components or inside.bits > layout.allocated:
        raise bad_header(
            header.name,
            f"the codestream has {inside.components} components of {inside.bits} bits; expected "
            f"{layout.components} of at most {layout.allocated}",
        )
    if inside.is_dct and inside.bits < layout.stored:
        raise bad_header(
            header.name,
            f"the JPEG codestream has {inside.bits} bits per sample, but BitsStored is "
            f"{layout.stored}, so that the scale of the values is unknown",
        )
