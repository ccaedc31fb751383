"""Unusual, hostile and damaged files yield pixels or an ImageError, and print nothing."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cxredge.data.images import load_grey
from cxredge.errors import ImageError
from tests.data.image_files import NOISE, chunk, encode, handmade_png, save


def exif_with(tag: int, kind: int, count: int, value: bytes) -> bytes:
    entries = struct.pack("<HHIHH", 0x112, 3, 1, 6, 0) + struct.pack(
        "<HHI4s", tag, kind, count, value
    )
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + b"\0\0\0\0"


@pytest.mark.parametrize(
    ("tag", "kind", "count", "value"),
    [
        pytest.param(0x100, 2, 3, b"ab\0\0", id="width-as-text"),
        pytest.param(0x103, 7, 1, b"\1\0\0\0", id="compression-as-bytes"),
        pytest.param(0x10E, 11, 1, struct.pack("<f", 1.5), id="description-as-number"),
        pytest.param(0x11A, 2, 3, b"ab\0\0", id="resolution-as-text"),
        pytest.param(0x128, 9, 1, b"\xff\xff\xff\xff", id="unit-below-zero"),
        pytest.param(0x8825, 9, 1, b"\xff\xff\xff\xff", id="gps-before-the-file"),
        pytest.param(0x11A, 5, 1, b"\xff\xff\xff\x7f", id="resolution-beyond-the-file"),
    ],
)
@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_odd_exif_costs_one_image_at_most(
    tmp_path: Path, image_format: str, tag: int, kind: int, count: int, value: bytes
) -> None:
    exif = exif_with(tag, kind, count, value)
    path = save(tmp_path / "a.png", Image.new("L", (40, 50), 9), image_format, exif=exif)
    try:
        pixels = load_grey(path, 32)
    except ImageError:
        return
    assert (pixels == 9).all()


def test_pixel_data_beyond_the_picture_is_not_unpacked_into_it(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(handmade_png(40, 40, (b"\0" + b"\x80" * 40) * 40 + bytes(20_000_000)))
    try:
        pixels = load_grey(path, 40)
    except ImageError:
        return
    assert (pixels == 128).all()


@pytest.mark.parametrize(
    ("name", "before_text"), [(b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0"), (b"iCCP", b"k\0\0")]
)
def test_text_that_unpacks_to_megabytes_is_no_crash(
    tmp_path: Path, name: bytes, before_text: bytes
) -> None:
    bomb = chunk(name, before_text + zlib.compress(b"x" * 3_000_000))
    path = tmp_path / "a.png"
    path.write_bytes(handmade_png(40, 40, (b"\0" + b"\x80" * 40) * 40, extra=bomb))
    try:
        pixels = load_grey(path, 40)
    except ImageError:
        return
    assert (pixels == 128).all()


_LOAD = """
import pathlib, sys
from cxredge.data.images import load_grey
from cxredge.errors import ImageError

for name in sys.argv[1:]:
    try:
        load_grey(pathlib.Path(name), 32)
    except ImageError:
        assert name.endswith("large.png"), name
"""


def test_nothing_is_printed(tmp_path: Path) -> None:
    palette = Image.fromarray(NOISE % 3)
    palette.putpalette([50, 50, 50, 150, 150, 150, 250, 250, 250])
    files = [
        save(tmp_path / "palette.png", palette, transparency=bytes([255, 128, 0])),
        tmp_path / "large.png",
    ]
    files[1].write_bytes(handmade_png(9_000, 9_000, b"\0"))
    ran = subprocess.run(
        [sys.executable, "-c", _LOAD, *files], capture_output=True, text=True, check=True
    )
    assert ran.stdout + ran.stderr == ""


def test_odd_exif_prints_nothing(tmp_path: Path) -> None:
    exif = exif_with(0x11A, 5, 1, b"\xff\xff\xff\x7f")
    path = save(tmp_path / "a.jpg", Image.new("L", (40, 50), 9), "JPEG", exif=exif)
    ran = subprocess.run(
        [sys.executable, "-c", _LOAD, path], capture_output=True, text=True, check=True
    )
    assert ran.stdout + ran.stderr == ""


@settings(max_examples=150)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_give_an_array_or_an_image_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(encode(Image.fromarray(NOISE), data.draw(st.sampled_from(["PNG", "JPEG"]))))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.png"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    with contextlib.suppress(ImageError):
        assert load_grey(path, 32).shape == (32, 32)
