"""DICOM files whose header and picture disagree: the picture decides, or the file is refused."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pydicom = pytest.importorskip("pydicom", reason="needs the dicom extra")

from pydicom.encaps import generate_frames  # noqa: E402
from pydicom.uid import (  # noqa: E402
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from cxredge.data.images import is_image_file, load_grey  # noqa: E402
from cxredge.data.phantoms import render_phantom  # noqa: E402
from cxredge.errors import ImageError, ImageProblem  # noqa: E402
from tests.dicom_files import dicom, jpeg_lossless, lookup_table, refused  # noqa: E402
from tests.dicom_files import shown as shown_at  # noqa: E402

RAMP12 = np.add.outer(np.arange(48) * 40, np.arange(48) * 47).astype(np.uint16)
RAMP8 = (RAMP12 >> 4).astype(np.uint8)
SHOWN = np.rint(RAMP12 * (255 / 4095))
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


shown = partial(shown_at, size=48)


@pytest.mark.parametrize(
    ("stated", "highest"), [(16, 4095), (12, 4095), (8, 4095), (10, 4095), (16, 65535), (16, 1023)]
)
@pytest.mark.parametrize("table", ["VOILUTSequence", "ModalityLUTSequence"])
def test_a_lookup_table_is_scaled_by_its_entries(
    tmp_path: Path, table: str, stated: int, highest: int
) -> None:
    entries = np.rint(np.arange(4096) * (highest / 4095))
    content = dicom(RAMP12, BitsStored=12, **{table: lookup_table(0, entries, stated)})
    np.testing.assert_allclose(shown(tmp_path, content), SHOWN, atol=1)


def test_a_depth_other_than_that_of_storage_is_believed(tmp_path: Path) -> None:
    content = dicom(RAMP12, BitsStored=12, VOILUTSequence=lookup_table(0, np.arange(4096) // 4, 12))
    np.testing.assert_allclose(shown(tmp_path, content), SHOWN / 4, atol=1)


@pytest.mark.parametrize("padding", [0xFFFF, 0x1000, -2000, -1])
def test_padding_that_the_stored_bits_cannot_hold_is_black_only_where_it_occurs(
    tmp_path: Path, padding: int
) -> None:
    values = RAMP12.copy()
    values[0, :6] = [4095, 0, padding & 4095, 2096, 4094, 1]  # stored values, not padding
    values[1, :9] = padding & 0xFFFF
    # The value representation of an unsigned picture's padding is US, so -1 is written as 65535.
    content = dicom(values, BitsStored=12, PixelPaddingValue=padding & 0xFFFF, **WINDOW)
    pixels = shown(tmp_path, content)
    assert (pixels[1, :9] == 0).all()
    values[1, :9] = 0
    np.testing.assert_array_equal(pixels, np.rint(values * (255 / 4095)))


@pytest.mark.parametrize("padding", [-2048, -2000])
def test_padding_of_signed_values_may_be_written_without_its_sign(
    tmp_path: Path, padding: int
) -> None:
    values = RAMP12.astype(np.int16) - 2000
    values[5] = padding
    content = dicom(values, BitsStored=12, WindowCenter=0, WindowWidth=4096)
    dataset = pydicom.dcmread(io.BytesIO(content))
    dataset.add_new("PixelPaddingValue", "US", padding & 0xFFFF)
    stream = io.BytesIO()
    dataset.save_as(stream)
    pixels = shown(tmp_path, stream.getvalue())
    assert (pixels[5] == 0).all()
    assert (pixels[7] > 0).all()


def test_a_range_of_padding_beyond_the_stored_bits(tmp_path: Path) -> None:
    values = RAMP12.copy()
    values[0], values[1], values[2] = 60_000, 59_999, 4095
    content = dicom(
        values, BitsStored=12, PixelPaddingValue=60_000, PixelPaddingRangeLimit=65_535, **WINDOW
    )
    pixels = shown(tmp_path, content)
    assert (pixels[0] == 0).all()
    assert (pixels[1] > 0).all()
    assert (pixels[2] == 255).all()


def jpeg(rgb: bool) -> bytes:
    """Return a JPEG without markers that state its colours: (200, 50, 30), luma 93."""
    stream = io.BytesIO()
    image = Image.new("RGB", (48, 48), (200, 50, 30))
    image.save(stream, "JPEG", quality=100, subsampling=0, keep_rgb=rgb)
    content = stream.getvalue()
    length = int.from_bytes(content[4:6], "big")
    return content[:2] + content[4 + length :]


def with_ids(content: bytes, ids: bytes) -> bytes:
    """Return a JPEG with other component ids in its frame and scan."""
    changed, frame, scan = bytearray(content), content.find(b"\xff\xc0"), content.find(b"\xff\xda")
    for index, number in enumerate(ids):
        changed[frame + 10 + 3 * index] = changed[scan + 5 + 2 * index] = number
    return bytes(changed)


def with_adobe(content: bytes, transform: int) -> bytes:
    return content[:2] + b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0" + bytes([transform]) + content[2:]


CODESTREAMS = {
    "YCbCr, ids 1 2 3": with_ids(jpeg(rgb=False), b"\1\2\3"),
    "YCbCr, ids 0 1 2": with_ids(jpeg(rgb=False), b"\0\1\2"),
    "YCbCr, Adobe": with_adobe(jpeg(rgb=False), 1),
    "YCbCr, JFIF": b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + jpeg(rgb=False)[2:],
    "RGB, ids R G B": with_ids(jpeg(rgb=True), b"RGB"),
    "RGB, Adobe": with_adobe(with_ids(jpeg(rgb=True), b"\1\2\3"), 0),
}


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422", "YBR_FULL"])
@pytest.mark.parametrize("name", CODESTREAMS)
def test_the_codestream_decides_about_the_colours_of_a_jpeg(
    tmp_path: Path, name: str, photometric: str
) -> None:
    frame = CODESTREAMS[name]
    by_libjpeg = np.asarray(Image.open(io.BytesIO(frame)).convert("L"))
    content = dicom(
        np.zeros((48, 48, 3), np.uint8), JPEGBaseline8Bit, frame,
        PhotometricInterpretation=photometric,
    )  # fmt: skip
    np.testing.assert_allclose(shown(tmp_path, content).astype(int), by_libjpeg, atol=1)


def jpeg_2000(image: Image.Image, boxes: bool, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG2000", no_jp2=not boxes, **options)
    return stream.getvalue()


@pytest.mark.parametrize("photometric", ["RGB", "YBR_RCT", "YBR_FULL"])
def test_jpeg_2000_with_a_component_transform_decodes_to_rgb(
    tmp_path: Path, photometric: str
) -> None:
    frame = jpeg_2000(Image.new("RGB", (48, 48), (200, 50, 30)), boxes=False, mct=1)
    content = dicom(
        np.zeros((48, 48, 3), np.uint8), JPEG2000Lossless, frame,
        PhotometricInterpretation=photometric,
    )  # fmt: skip
    assert (shown(tmp_path, content) == 93).all()


@pytest.mark.parametrize("picture", [RAMP8, RAMP12 * 16], ids=["8-bit", "16-bit"])
def test_a_codestream_in_a_jp2_file_is_read(tmp_path: Path, picture: np.ndarray) -> None:
    frame = jpeg_2000(Image.fromarray(picture), boxes=True)
    assert frame[4:8] == b"jP  "
    content = dicom(picture, JPEG2000Lossless, frame)
    expected = np.rint(picture / (257 if picture.dtype == np.uint16 else 1))
    np.testing.assert_array_equal(shown(tmp_path, content), expected)
    cut = dicom(picture, JPEG2000Lossless, frame[:40])
    assert refused(tmp_path, cut).problem is ImageProblem.TRUNCATED


def test_8_bit_jpeg_in_16_allocated_bits(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(RAMP8).save(stream, "JPEG", quality=95)
    wide = np.zeros((48, 48), np.uint16)
    content = dicom(wide, JPEGBaseline8Bit, stream.getvalue(), BitsStored=8)
    assert np.abs(shown(tmp_path, content).astype(int) - RAMP8).max() <= 4
    lossless = dicom(wide, JPEGLosslessSV1, jpeg_lossless(RAMP8, 8), BitsStored=8)
    np.testing.assert_array_equal(shown(tmp_path, lossless), RAMP8)
    j2k = dicom(wide, JPEG2000Lossless, jpeg_2000(Image.fromarray(RAMP8), False), BitsStored=12)
    window = {"WindowCenter": 128, "WindowWidth": 256}
    j2k = dicom(
        wide, JPEG2000Lossless, jpeg_2000(Image.fromarray(RAMP8), False), BitsStored=12, **window
    )
    np.testing.assert_array_equal(shown(tmp_path, j2k), RAMP8)


def test_lossy_8_bit_jpeg_of_a_deeper_picture_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(RAMP8).save(stream, "JPEG")
    content = dicom(RAMP12, JPEGBaseline8Bit, stream.getvalue(), BitsStored=12, **WINDOW)
    error = refused(tmp_path, content)
    assert error.problem is ImageProblem.BAD_HEADER
    assert "8 bits per sample, but BitsStored is 12" in error.message


def test_0_frames_are_one(tmp_path: Path) -> None:
    content = dicom(RAMP12, BitsStored=12, NumberOfFrames=0)
    np.testing.assert_array_equal(shown(tmp_path, content), SHOWN)


def data_set_of(content: bytes) -> bytes:
    """Return a file without preamble and file meta information."""
    return content[144 + int.from_bytes(content[140:144], "little") :]


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_files_without_preamble_or_meta_information_are_read(tmp_path: Path, syntax: str) -> None:
    content = dicom(RAMP12, syntax, BitsStored=12, SpecificCharacterSet="ISO_IR 100")
    forms = [content[132:], data_set_of(content), content[:132] + data_set_of(content)]
    for form in forms:
        path = tmp_path / "IM0001"
        path.write_bytes(form)
        assert is_image_file(path)
        np.testing.assert_array_equal(shown(tmp_path, form), SHOWN)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x08\0\x05\0", b"\x08\0" * 66, b"\x02\0\x01\0UL" * 22, b"\0" * 200, b"text " * 40],
)
def test_other_files_are_not_taken_for_dicom_without_a_preamble(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "IM0001"
    path.write_bytes(content)
    assert not is_image_file(path)


@pytest.mark.parametrize("syntax", ["", ExplicitVRLittleEndian])
def test_compressed_pixels_need_their_transfer_syntax(tmp_path: Path, syntax: str) -> None:
    content = dicom(RAMP8, JPEGBaseline8Bit)
    if syntax:
        dataset = pydicom.dcmread(io.BytesIO(content))
        stream = io.BytesIO()
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        dataset.save_as(stream)
        old, new = JPEG2000Lossless.encode(), syntax.encode().ljust(len(JPEG2000Lossless), b"\0")
        content = stream.getvalue().replace(old, new)
    else:
        content = data_set_of(content)
    error = refused(tmp_path, content)
    assert error.problem is ImageProblem.BAD_HEADER
    assert "its pixel data are compressed, but the transfer syntax is" in error.message


@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLosslessSV1], ids=["lossy", "lossless"])
def test_data_that_end_before_the_picture_are_truncated(
    tmp_path: Path, syntax: str, end: bytes
) -> None:
    picture = render_phantom("normal", 0, 0, 128).copy()
    content = dicom(picture, syntax)
    frame = next(generate_frames(pydicom.dcmread(io.BytesIO(content)).PixelData))
    shown(tmp_path, content)
    for kept in (0.1, 0.5, 0.9):
        cut = frame[: int(len(frame) * kept)] + end
        content = dicom(picture, syntax, cut + bytes(len(cut) % 2))
        assert refused(tmp_path, content).problem is ImageProblem.TRUNCATED
    picture[100:] = 128  # as the fill
    np.testing.assert_allclose(shown(tmp_path, dicom(picture, syntax))[40], 128, atol=2)


def test_jpeg_ls_data_that_end_before_the_picture_are_truncated() -> None:
    path = Path(pydicom.__file__).parent / "data/test_files/MR_small_jpeg_ls_lossless.dcm"
    dataset = pydicom.dcmread(path)
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    cut = dicom(dataset.pixel_array.astype(np.uint16), JPEGLSLossless, frame[: len(frame) // 4 * 2])
    with pytest.raises(ImageError) as caught:
        load_grey(cut, 48)
    assert caught.value.problem is ImageProblem.TRUNCATED


def test_progressive_jpeg_that_ends_before_the_picture_is_truncated(tmp_path: Path) -> None:
    picture = render_phantom("normal", 0, 0, 128)
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", progressive=True, quality=95)
    whole = stream.getvalue()
    shown(tmp_path, dicom(picture, JPEGBaseline8Bit, whole + b"\0" * (len(whole) % 2)))
    cut = whole[: len(whole) // 3 * 2] + b"\xff\xd9"
    error = refused(tmp_path, dicom(picture, JPEGBaseline8Bit, cut + b"\0" * (len(cut) % 2)))
    assert error.problem is ImageProblem.TRUNCATED


def test_planar_configuration_does_not_apply_to_jpeg(tmp_path: Path) -> None:
    colour = np.stack([render_phantom("normal", 0, 0, 48)] * 3, -1)
    stream = io.BytesIO()
    Image.fromarray(colour).save(stream, "JPEG", quality=95)
    frame = stream.getvalue() + b"\0" * (len(stream.getvalue()) % 2)
    header = {"PhotometricInterpretation": "YBR_FULL_422"}
    pixels = [
        shown(tmp_path, dicom(colour, JPEGBaseline8Bit, frame, PlanarConfiguration=one, **header))
        for one in (0, 1)
    ]
    np.testing.assert_array_equal(*pixels)
