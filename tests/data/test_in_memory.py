"""Images in memory: the same pixels as the file, or a sentence that says what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxredge.data.images import load_grey, load_image
from cxredge.data.phantoms import render_phantom
from cxredge.errors import ImageError, ImageProblem
from tests.data.image_files import NOISE, encode, save

SIZE = 40
DEEP = NOISE.astype(np.uint16) * 257
COLOUR = np.random.default_rng(3).integers(0, 256, (48, 50, 3), np.uint8)
ALPHA = np.random.default_rng(4).integers(0, 256, (48, 50, 4), np.uint8)


@pytest.mark.parametrize("pixels", [NOISE, DEEP, COLOUR, ALPHA], ids=["8", "16", "rgb", "rgba"])
def test_file_bytes_pillow_and_array_are_equal_to_the_bit(
    pixels: np.ndarray, tmp_path: Path
) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(pixels))
    expected = load_grey(path, SIZE)
    assert expected.std() > 0
    with Image.open(path) as picture:
        for source in (path.read_bytes(), picture, np.asarray(picture), pixels):
            assert np.array_equal(load_grey(source, SIZE), expected)


@pytest.mark.parametrize(
    "values",
    [DEEP.astype(">u2"), DEEP.astype("<u2"), np.asfortranarray(DEEP), np.flip(np.flip(DEEP))],
    ids=["big endian", "little endian", "fortran order", "negative strides"],
)
def test_memory_layout_does_not_matter(values: np.ndarray) -> None:
    assert np.array_equal(load_grey(values, SIZE), load_grey(DEEP, SIZE))


def test_bytes_of_a_jpeg_are_decoded_as_the_file_is(tmp_path: Path) -> None:
    large = Image.fromarray(render_phantom("normal", 1, 0, 512)).convert("RGB")
    path = save(tmp_path / "a.jpg", large, "JPEG")
    assert np.array_equal(load_grey(path.read_bytes(), SIZE), load_grey(path, SIZE))
    with Image.open(path) as picture:
        seen = load_grey(picture, SIZE).astype(int)
        assert picture.size == large.size, "the caller's image is not scaled down"
    assert abs(seen - load_grey(path, SIZE)).mean() < 3


def test_the_orientation_of_a_pillow_image_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.png", Image.fromarray(NOISE), exif=exif)
    with Image.open(path) as picture:
        assert np.array_equal(load_grey(picture, SIZE), load_grey(path, SIZE))
    assert not np.array_equal(load_grey(path, SIZE), load_grey(NOISE, SIZE))


def test_bytes_of_a_dicom_file_are_decoded_as_the_file_is(tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="needs the dicom extra")
    from tests.dicom_files import dicom

    path = tmp_path / "a.dcm"
    path.write_bytes(dicom(NOISE, BurnedInAnnotation="YES"))
    from_file, from_bytes = load_image(path, SIZE), load_image(path.read_bytes(), SIZE)
    assert np.array_equal(from_file.pixels, from_bytes.pixels)
    assert from_file.cautions == from_bytes.cautions != ()


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (NOISE / 255, r"array \(48, 48\) float64"),
        (np.full((48, 48), np.nan, np.float32), r"array \(48, 48\) float32"),
        (NOISE > 9, r"array \(48, 48\) bool"),
        (NOISE.astype(np.int16), r"array \(48, 48\) int16"),
        (NOISE.astype(np.uint32), r"array \(48, 48\) uint32"),
        (NOISE[None], r"array \(1, 48, 48\) uint8"),
        (NOISE[..., None], r"array \(48, 48, 1\) uint8"),
        (DEEP[..., None].repeat(3, 2), r"array \(48, 48, 3\) uint16"),
        (np.zeros((2, 48, 48, 3), np.uint8), r"array \(2, 48, 48, 3\) uint8"),
        (NOISE[0], r"array \(48,\) uint8"),
        (np.uint8(3) + np.zeros((), np.uint8), r"array \(\) uint8|uint8"),
        (np.array([[None] * 48] * 48), r"array \(48, 48\) object"),
        (np.array([["a"] * 48] * 48), r"array \(48, 48\) <U1"),
    ],
)  # fmt: skip
def test_other_shapes_and_types_are_refused(values: np.ndarray, found: str) -> None:
    with pytest.raises(ImageError, match=f"^(?:{found}) is not supported; expected ") as caught:
        load_grey(np.asarray(values), SIZE)
    assert caught.value.problem is ImageProblem.UNSUPPORTED
    assert caught.value.hint


@pytest.mark.parametrize("shape", [(1, 1), (0, 0), (31, 500), (500, 31), (0, 100)])
def test_images_that_are_too_small_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=f"has {shape[1]}x{shape[0]} pixels") as caught:
        load_grey(np.zeros(shape, np.uint8), SIZE)
    assert caught.value.problem is ImageProblem.TOO_SMALL


def test_an_array_that_is_too_large_is_refused() -> None:
    with pytest.raises(ImageError, match="at most 64 million") as caught:
        load_grey(np.broadcast_to(np.uint8(0), (9000, 9000)), SIZE)
    assert caught.value.problem is ImageProblem.TOO_LARGE


def test_12_bit_values_in_16_bits_are_refused() -> None:
    with pytest.raises(ImageError, match="16-bit image whose maximum is 4095"):
        load_grey(np.full((48, 48), 4095, np.uint16), SIZE)


@pytest.mark.parametrize("value", [-1, 65536])
def test_values_beyond_16_bits_are_refused(value: int) -> None:
    values = np.full((48, 48), 9000, np.int32)
    values[0, 0] = value
    with pytest.raises(ImageError, match=f"values from .*{value}.*; expected 0 to 65535") as caught:
        load_grey(Image.fromarray(values), SIZE)
    assert caught.value.problem is ImageProblem.NOT_SCALED


def test_a_pillow_image_of_floats_is_refused() -> None:
    with pytest.raises(ImageError, match="in mode F is not supported; expected mode"):
        load_grey(Image.fromarray(NOISE.astype(np.float32)), SIZE)


@pytest.mark.parametrize(
    ("content", "problem", "message"),
    [
        (b"", ImageProblem.EMPTY, r"empty \(0 bytes\)"),
        (b"no image", ImageProblem.UNREADABLE, "image of 8 bytes is not a PNG"),
        (encode(Image.fromarray(NOISE))[:900], ImageProblem.TRUNCATED, "image of 900 bytes is tr"),
    ],
)
def test_bytes_that_are_no_image_are_refused(
    content: bytes, problem: ImageProblem, message: str
) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        load_grey(content, SIZE)
    assert caught.value.problem is problem
