"""PNG files whose data end early without damage."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from cxredge.data.images import load_xray
from cxredge.data.phantoms import render_phantom
from cxredge.errors import ImageError, ImageProblem
from tests.data.image_files import GREY_ALPHA, RGB, handmade_png

PICTURE = render_phantom("normal", 0, 0, 96)


def rows_of(picture: np.ndarray, colour: int) -> bytes:
    channels = {0: 1, RGB: 3, GREY_ALPHA: 2}[colour]
    filled = [picture] * channels if colour != GREY_ALPHA else [picture, picture | 255]
    pixels = np.stack(filled, -1).reshape(len(picture), -1)
    return b"".join(b"\0" + row.tobytes() for row in pixels)


@pytest.mark.parametrize("colour", [0, RGB, GREY_ALPHA])
def test_rows_that_are_missing_are_not_black(colour: int) -> None:
    whole = rows_of(PICTURE, colour)
    load_xray(handmade_png(96, 96, whole, 8, colour), 32)
    for kept in (0.3, 0.9):
        cut = handmade_png(96, 96, whole[: int(len(whole) * kept)], 8, colour)
        with pytest.raises(ImageError) as caught:
            load_xray(cut, 32)
        assert caught.value.problem is ImageProblem.TRUNCATED


def test_an_x_ray_that_ends_in_black_is_whole() -> None:
    picture = PICTURE.copy()
    picture[70:] = 0
    content = handmade_png(96, 96, rows_of(picture, 0), 8, 0)
    np.testing.assert_array_equal(load_xray(content, 96).pixels, picture)


def test_passes_of_an_interlaced_picture_are_counted() -> None:
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
              (0, 1, 1, 2))  # fmt: skip
    data = b"".join(rows_of(PICTURE[y::down, x::across], 0) for x, y, across, down in passes)
    whole = bytearray(handmade_png(96, 96, data, 8, 0))
    cut = bytearray(handmade_png(96, 96, data[: len(data) // 2], 8, 0))
    for content in (whole, cut):
        content[28] = 1
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    np.testing.assert_array_equal(load_xray(bytes(whole), 96).pixels, PICTURE)
    with pytest.raises(ImageError) as caught:
        load_xray(bytes(cut), 32)
    assert caught.value.problem is ImageProblem.TRUNCATED
