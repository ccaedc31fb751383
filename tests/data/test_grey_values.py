"""Conversion of 16 bits, colours, palettes and transparency to 8-bit grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxredge.data.images import load_grey
from tests.data.image_files import GREY, GREY_ALPHA, NOISE, RGB, chunk, handmade_png, save

RNG = np.random.default_rng(7)


def test_each_8_bit_value_survives_as_16_bit_value_times_257(tmp_path: Path) -> None:
    values = (np.arange(1024) // 4).reshape(32, 32).astype(np.uint16)
    path = save(tmp_path / "a.png", Image.fromarray(values * 257))
    np.testing.assert_array_equal(load_grey(path, 32), values)


def test_16_bit_values_are_rounded_to_the_nearest(tmp_path: Path) -> None:
    values = RNG.integers(0, 65536, (48, 48), dtype=np.uint16)
    values[0, :4] = (0, 65535, 65407, 128)
    path = save(tmp_path / "a.png", Image.fromarray(values))
    np.testing.assert_array_equal(load_grey(path, 48), np.rint(values / 257))


@pytest.mark.parametrize(
    ("mode", "colour", "grey"),
    [
        ("L", 200, 200),
        ("1", 1, 255),
        ("1", 0, 0),
        ("RGB", (255, 0, 0), 76),
        ("RGB", (0, 255, 0), 150),
        ("RGB", (0, 0, 255), 29),
        ("RGB", (90, 90, 90), 90),
        ("RGBA", (255, 255, 255, 255), 255),
        ("RGBA", (255, 255, 255, 128), 128),
        ("RGBA", (255, 255, 255, 0), 0),
        ("RGBA", (0, 255, 0, 255), 150),
        ("LA", (200, 255), 200),
        ("LA", (200, 0), 0),
        ("LA", (200, 128), 100),
    ],
)
def test_colour_becomes_luma_over_black(
    tmp_path: Path, mode: str, colour: int | tuple[int, ...], grey: int
) -> None:
    path = save(tmp_path / "a.png", Image.new(mode, (40, 40), colour))
    np.testing.assert_allclose(load_grey(path, 40).astype(int), grey, atol=1)


@pytest.mark.parametrize(
    ("ink", "grey"),
    [((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0), ((0, 0, 0, 128), 127), ((0, 255, 255, 0), 76)],
)
def test_cmyk_jpeg_is_read_as_ink_on_white(tmp_path: Path, ink: tuple[int, ...], grey: int) -> None:
    path = save(tmp_path / "a.jpg", Image.new("CMYK", (40, 40), ink), "JPEG", quality=95)
    np.testing.assert_allclose(load_grey(path, 40).astype(int), grey, atol=3)


def test_palette_is_looked_up(tmp_path: Path) -> None:
    image = Image.fromarray(NOISE % 3)
    image.putpalette([255, 0, 0, 0, 255, 0, 10, 10, 10])
    expected = np.array([76, 150, 10])[NOISE % 3]
    np.testing.assert_array_equal(load_grey(save(tmp_path / "a.png", image), 48), expected)


@pytest.mark.parametrize(
    ("transparency", "greys"), [(1, [50, 0, 250]), (bytes([255, 128, 0]), [50, 75, 0])]
)
def test_transparent_palette_entries_are_laid_over_black(
    tmp_path: Path, transparency: int | bytes, greys: list[int]
) -> None:
    image = Image.fromarray(NOISE % 3)
    image.putpalette([50, 50, 50, 150, 150, 150, 250, 250, 250])
    path = save(tmp_path / "a.png", image, transparency=transparency)
    np.testing.assert_allclose(load_grey(path, 48).astype(int), np.array(greys)[NOISE % 3], atol=1)


@pytest.mark.parametrize(
    ("depth", "colour", "pixel", "key", "grey"),
    [
        (8, GREY, b"\xc8", b"\0\xc8", 0),
        (8, GREY, b"\xc8", b"\0\xc9", 200),
        (8, RGB, b"\x5a\x5a\x5a", b"\0\x5a\0\x5a\0\x5a", 0),
        (16, GREY, b"\x9c\x9c", b"\x9c\x9c", 0),
    ],
)
def test_transparent_colour_key_is_laid_over_black(
    tmp_path: Path, depth: int, colour: int, pixel: bytes, key: bytes, grey: int
) -> None:
    path = tmp_path / "a.png"
    rows = (b"\0" + pixel * 40) * 40
    path.write_bytes(handmade_png(40, 40, rows, depth, colour, chunk(b"tRNS", key)))
    assert (load_grey(path, 40) == grey).all()


@pytest.mark.parametrize(
    ("colour", "pixel"), [(GREY_ALPHA, b"\x80\x80\xff\xff"), (RGB, b"\x80\x80" * 3)]
)
def test_16_bit_colour_and_alpha_keep_their_brightness(
    tmp_path: Path, colour: int, pixel: bytes
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(handmade_png(40, 40, (b"\0" + pixel * 40) * 40, 16, colour))
    np.testing.assert_allclose(load_grey(path, 40).astype(int), 128, atol=1)


@pytest.mark.parametrize(("depth", "row"), [(1, b"\xcc" * 5), (2, b"\xf0" * 10)])
def test_few_grey_levels_span_black_to_white(tmp_path: Path, depth: int, row: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(handmade_png(40, 40, (b"\0" + row) * 40, depth))
    expected = np.tile([255, 255, 0, 0], 10)
    np.testing.assert_array_equal(load_grey(path, 40)[7], expected)
