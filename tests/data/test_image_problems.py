"""Problems for which an image file is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxredge.data.images import load_grey
from cxredge.data.sources import MAX_BYTES, MAX_PIXELS
from cxredge.errors import ImageError, ImageProblem
from tests.data.image_files import NOISE, chunk, encode, handmade_png, save

RNG = np.random.default_rng(7)


def problem_of(path: Path) -> ImageProblem:
    with pytest.raises(ImageError) as caught:
        load_grey(path, 32)
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value.problem


@pytest.mark.parametrize(
    ("brightest", "refused"), [(0, True), (1023, True), (4095, True), (4096, False), (65535, False)]
)
def test_16_bit_file_with_12_bit_values_is_refused(
    tmp_path: Path, brightest: int, refused: bool
) -> None:
    values = np.zeros((32, 32), dtype=np.uint16)
    values[5, 5] = brightest
    path = save(tmp_path / "a.png", Image.fromarray(values))
    if refused:
        assert problem_of(path) is ImageProblem.NOT_SCALED
    else:
        assert load_grey(path, 32).max() == round(brightest / 257)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_cut_off_file_is_truncated(tmp_path: Path, image_format: str, kept: float) -> None:
    whole = encode(Image.fromarray(RNG.integers(0, 256, (200, 200), np.uint8)), image_format)
    path = tmp_path / "a.png"
    path.write_bytes(whole[: int(len(whole) * kept)])
    assert problem_of(path) is ImageProblem.TRUNCATED


def test_png_without_pixels_is_truncated(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(handmade_png(64, 64, b"")[:33] + chunk(b"IEND", b""))
    assert problem_of(path) is ImageProblem.TRUNCATED


def test_flipped_byte_in_png_data_is_noticed(tmp_path: Path) -> None:
    damaged = bytearray(encode(Image.fromarray(NOISE)))
    damaged[len(damaged) // 2] ^= 0xFF
    path = tmp_path / "a.png"
    path.write_bytes(damaged)
    assert problem_of(path) is ImageProblem.TRUNCATED


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"patient,label\n1,normal\n", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n", id="png-signature-alone"),
        pytest.param(b"\xff\xd8\xff", id="jpeg-signature-alone"),
        pytest.param(b"\0" * 4096, id="zeros"),
        pytest.param(b"PK\x03\x04" + b"\0" * 60, id="zip"),
        pytest.param(b"<html>404 Not Found</html>", id="html"),
        pytest.param(encode(Image.fromarray(NOISE), "GIF"), id="gif"),
        pytest.param(encode(Image.fromarray(NOISE), "BMP"), id="bmp"),
        pytest.param(encode(Image.fromarray(NOISE), "TIFF"), id="tiff"),
        pytest.param(encode(Image.fromarray(NOISE), "PPM"), id="ppm"),
    ],
)
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_other_content_under_an_image_name_is_unreadable(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert problem_of(path) is ImageProblem.UNREADABLE


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.touch()
    assert problem_of(path) is ImageProblem.EMPTY


def test_folder_named_like_an_image_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.mkdir()
    (path / "inside").touch()
    assert problem_of(path) is ImageProblem.UNREADABLE


def test_missing_file_dangling_link_and_path_through_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    for path in (tmp_path / "no.png", tmp_path / "link.png", tmp_path / "file" / "a.png"):
        assert problem_of(path) is ImageProblem.MISSING


def test_unopenable_names_are_unreadable(tmp_path: Path) -> None:
    for path in (tmp_path / ("x" * 300 + ".png"), tmp_path / "a\0b.png"):
        assert problem_of(path) is ImageProblem.UNREADABLE


@pytest.mark.parametrize(
    ("width", "height", "refused"),
    [(1, 1, True), (31, 400, True), (400, 31, True), (32, 32, False)],
)
def test_images_under_32_pixels_are_too_small(
    tmp_path: Path, width: int, height: int, refused: bool
) -> None:
    path = save(tmp_path / "a.png", Image.new("L", (width, height), 5))
    if refused:
        assert problem_of(path) is ImageProblem.TOO_SMALL
    else:
        assert load_grey(path, 16).shape == (16, 16)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("width", "height"), [(20_000, 20_000), (9_000, 9_000), (8_001, 8_000), (2_000_000_000, 40)]
)
def test_header_that_promises_too_many_pixels_is_refused_before_decoding(
    tmp_path: Path, width: int, height: int
) -> None:
    assert width * height > MAX_PIXELS
    path = tmp_path / "a.png"
    path.write_bytes(handmade_png(width, height, b"\0"))
    assert path.stat().st_size < 200
    assert problem_of(path) is ImageProblem.TOO_LARGE


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    heard: list[str] = []
    with pytest.raises(ImageError, match="640 are read") as caught:
        load_grey(path, 64, heard.append)
    assert caught.value.problem is ImageProblem.TOO_LARGE
    assert heard == []
