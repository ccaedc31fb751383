"""JPEG files whose data end early, or of a kind that Pillow cannot decode."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from cxredge.data.images import load_xray
from cxredge.data.phantoms import render_phantom
from cxredge.errors import ImageError, ImageProblem
from tests.data.image_files import encode

PICTURE = Image.fromarray(render_phantom("normal", 0, 0, 256))
KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "grey": ("L", {}),
    "colour": ("RGB", {}),
    "cmyk": ("CMYK", {}),
    "progressive": ("L", {"progressive": True}),
    "restart markers": ("L", {"restart_marker_blocks": 5}),
}
END = b"\xff\xd9"


def jpeg(kind: str, picture: Image.Image = PICTURE) -> bytes:
    mode, options = KINDS[kind]
    return encode(picture.convert(mode), "JPEG", quality=90, **options)


def with_size(content: bytes, width: int, height: int) -> bytes:
    changed = bytearray(content)
    frame = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    changed[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(changed)


def problem_of(content: bytes, size: int = 64) -> ImageProblem:
    with pytest.raises(ImageError) as caught:
        load_xray(content, size)
    return caught.value.problem


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [32, 224])
def test_a_picture_that_libjpeg_fills_with_grey_is_refused(kind: str, size: int) -> None:
    whole = jpeg(kind)
    load_xray(whole, size)
    for content in (
        whole[: len(whole) // 8] + END,
        whole[: len(whole) * 9 // 10] + END,
        with_size(whole, 2000, 2000),
        with_size(whole, 256, 512),
    ):
        assert problem_of(content, size) is ImageProblem.TRUNCATED


def test_data_that_end_at_a_restart_marker_are_refused() -> None:
    whole = jpeg("restart markers")
    assert problem_of(whole[: whole.rfind(b"\xff\xd3")] + END) is ImageProblem.TRUNCATED


@pytest.mark.parametrize("kind", KINDS)
def test_a_complete_picture_may_end_in_the_grey_of_the_fill(kind: str) -> None:
    values = np.array(PICTURE)
    values[200:] = 128
    content = jpeg(kind, Image.fromarray(values))
    plain = load_xray(content, 64).pixels
    thumbnail = b"Exif\0\0" + jpeg("grey", PICTURE.resize((64, 64)))
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    with_thumbnail = content[:2] + segment + content[2:]
    np.testing.assert_array_equal(load_xray(with_thumbnail, 64).pixels, plain)


@pytest.mark.parametrize(
    ("marker", "bits", "named"),
    [(0xC1, 12, "a JPEG of 12 bits per sample"), (0xC3, 16, "a lossless JPEG"),
     (0xF7, 8, "a lossless JPEG"), (0xC3, 8, "a lossless JPEG")],
)  # fmt: skip
def test_kinds_of_jpeg_that_are_not_supported_are_named(marker: int, bits: int, named: str) -> None:
    content = bytearray(jpeg("grey"))
    frame = content.find(b"\xff\xc0")
    content[frame + 1], content[frame + 4] = marker, bits
    with pytest.raises(ImageError, match=named) as caught:
        load_xray(bytes(content), 64)
    assert caught.value.problem is ImageProblem.UNSUPPORTED
    assert "PNG" in caught.value.hint


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [32, 224])
def test_the_first_of_several_pictures_must_be_whole(progressive: bool, size: int) -> None:
    options = {"quality": 90, "save_all": True, "append_images": [PICTURE.rotate(90)]}
    whole = encode(PICTURE, "MPO", progressive=progressive, **options)
    load_xray(whole, size)
    second = whole.find(b"\xff\xd8\xff", 2)
    cut = whole[: second // 2] + END + bytes(second - second // 2 - 2) + whole[second:]
    assert problem_of(cut, size) is ImageProblem.TRUNCATED


def test_bytes_behind_a_progressive_picture_do_not_hide_its_end() -> None:
    whole = jpeg("progressive")
    load_xray(whole + b"notes" + END, 64)
    cut = whole[: len(whole) * 9 // 10] + END + b"notes" + END
    assert problem_of(cut) is ImageProblem.TRUNCATED
