"""DICOM files for tests: any header, any transfer syntax, no patient."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from cxredge.data.images import load_grey
from cxredge.errors import ImageError

IDENTIFIERS = {
    "PatientName": "Quixote^Alonso",
    "PatientID": "LAMANCHA-1605",
    "PatientBirthDate": "15470929",
    "PatientAddress": "Windmill Road 1",
    "PatientComments": "barber's basin",
    "OtherPatientNames": "Quijano^Alonso",
    "AccessionNumber": "ACC-778899",
    "StudyDate": "16050116",
    "StudyTime": "101112.131415",
    "StudyID": "STUDY-4242",
    "InstitutionName": "Toboso General",
    "ReferringPhysicianName": "Panza^Sancho",
    "OperatorsName": "Carrasco^Sanson",
    "StationName": "ROCINANTE",
    "DeviceSerialNumber": "SN-31415926",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.111222333",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.444555666",
    "SOPInstanceUID": "1.2.826.0.1.3680043.8.498.777888999",
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.101010101",
    "StudyDescription": "Thorax of Alonso",
    "ImageComments": "fell off horse",
}
"""Personal attributes of a file; no value occurs in messages of the program."""

LOSSLESS = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLosslessSV1,
    JPEG2000Lossless,
)
_NATIVE = LOSSLESS[:4]
_DX = "1.2.840.10008.5.1.4.1.1.1.1"


def dicom(
    pixels: np.ndarray,
    syntax: str = ExplicitVRLittleEndian,
    frame: bytes | None = None,
    **header: object,
) -> bytes:
    """Return a DICOM file of ``pixels``: uint8, int8, uint16 or int16 (rows, columns[, 3]).

    Header attributes replace the usual ones; None leaves one out. A codestream ``frame`` replaces
    the encoded pixels.
    """
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = _DX
    meta.MediaStorageSOPInstanceUID = IDENTIFIERS["SOPInstanceUID"]
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    bits = 8 * pixels.dtype.itemsize
    colour = pixels.ndim == 3
    usual = {
        **IDENTIFIERS,
        "SOPClassUID": _DX,
        "Modality": "DX",
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "SamplesPerPixel": 3 if colour else 1,
        "PlanarConfiguration": 0 if colour else None,
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": int(header.get("BitsStored", bits)) - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
    }
    for keyword, value in (usual | header).items():
        if value is not None:
            setattr(dataset, keyword, value)
    if frame is not None:
        _encapsulate(dataset, frame)
    elif "PixelData" not in header:
        _put_pixels(dataset, pixels, syntax)
    return _written(dataset, syntax)


def lookup_table(first: int, entries: np.ndarray, bits: int) -> list[Dataset]:
    """Return a sequence with one lookup table."""
    item = Dataset()
    kind = "SS" if first < 0 else "US"
    item.add_new("LUTDescriptor", kind, [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "OW", np.asarray(entries, "<u2").tobytes())
    return [item]


def view_code(value: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", "view"
    return [item]


def jpeg_lossless(pixels: np.ndarray, bits: int) -> bytes:
    """Encode JPEG Lossless, first-order prediction (ITU-T T.81, annex H), with 5-bit codes."""
    values = pixels.astype(np.int64) & (1 << bits) - 1
    predicted = np.empty_like(values)
    predicted[:, 1:] = values[:, :-1]
    predicted[1:, 0] = values[:-1, 0]
    predicted[0, 0] = 1 << bits - 1
    difference = ((values - predicted + 0x8000) % 0x10000 - 0x8000).ravel()
    size = np.where(difference == -0x8000, 16, np.frexp(np.abs(difference).astype(float))[1])
    extra = np.where(size == 16, 0, size)
    low = (difference - (difference < 0)) & (1 << extra) - 1
    code = size << extra | low
    length = 5 + extra
    start = np.repeat(np.cumsum(length) - length, length)
    shift = np.repeat(length, length) - 1 - (np.arange(length.sum()) - start)
    stream = np.repeat(code, length) >> shift & 1
    stream = np.append(stream, np.ones(-len(stream) % 8, np.int64)).astype(np.uint8)
    coded = np.packbits(stream).tobytes().replace(b"\xff", b"\xff\0")
    rows, columns = pixels.shape
    table = bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)])
    return (
        b"\xff\xd8\xff\xc3"
        + struct.pack(">HBHHBBBB", 11, bits, rows, columns, 1, 1, 0x11, 0)
        + b"\xff\xc4"
        + struct.pack(">H", 2 + len(table))
        + table
        + b"\xff\xda"
        + struct.pack(">HBBBBBB", 8, 1, 1, 0, 1, 0, 0)
        + coded
        + b"\xff\xd9"
    )


def shown(folder: Path, content: bytes, size: int) -> np.ndarray:
    """Return the pixels that a network sees of a file."""
    path = folder / "image"
    path.write_bytes(content)
    return load_grey(path, size)


def refused(folder: Path, content: bytes) -> ImageError:
    """Return the error of a file, which names nobody and says what to do."""
    with pytest.raises(ImageError) as caught:
        shown(folder, content, 48)
    told = str(caught.value)
    assert not [value for value in IDENTIFIERS.values() if value in told]
    assert caught.value.hint
    return caught.value


def _put_pixels(dataset: FileDataset, pixels: np.ndarray, syntax: str) -> None:
    if syntax in _NATIVE:
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
        dataset.add_new("PixelData", "OB" if pixels.dtype.itemsize == 1 else "OW", data)
        if len(data) % 2:
            dataset.PixelData = data + b"\0"
        return
    if syntax == JPEGBaseline8Bit:
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=95)
        _encapsulate(dataset, stream.getvalue())
    elif syntax == JPEGLosslessSV1:
        _encapsulate(dataset, jpeg_lossless(pixels, dataset.BitsStored))
    else:
        dataset.compress(syntax, pixels, generate_instance_uid=False)


def _encapsulate(dataset: FileDataset, frame: bytes) -> None:
    dataset.add_new("PixelData", "OB", encapsulate([frame]))
    dataset["PixelData"].is_undefined_length = True


def _written(dataset: FileDataset, syntax: str) -> bytes:
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()
