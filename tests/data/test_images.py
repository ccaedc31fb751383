import contextlib
import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cxredge.data.images import STAGES, is_image_name, list_images, load_grey
from cxredge.data.limits import MAX_BYTES, MAX_PIXELS
from cxredge.errors import ImageError, ImageProblem

RNG = np.random.default_rng(7)
NOISE = RNG.integers(0, 256, (48, 48), dtype=np.uint8)
GREY, GREY_ALPHA, RGB, PALETTE = 0, 4, 2, 3


def encode(image: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, image_format, **options)
    return stream.getvalue()


def save(path: Path, image: Image.Image, image_format: str = "PNG", **options: object) -> Path:
    path.write_bytes(encode(image, image_format, **options))
    return path


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def handmade_png(
    width: int, height: int, rows: bytes, depth: int = 8, colour: int = GREY, extra: bytes = b""
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def exif_with(tag: int, kind: int, count: int, value: bytes) -> bytes:
    entries = struct.pack("<HHIHH", 0x112, 3, 1, 6, 0) + struct.pack(
        "<HHI4s", tag, kind, count, value
    )
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + b"\0\0\0\0"


def problem_of(path: Path) -> ImageProblem:
    with pytest.raises(ImageError) as caught:
        load_grey(path, 32)
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value.problem


def test_picture_of_the_wanted_size_comes_through_untouched(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(NOISE))
    pixels = load_grey(path, 48)
    np.testing.assert_array_equal(pixels, NOISE)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("size", [1, 31, 224, 331])
@pytest.mark.parametrize("shape", [(48, 48), (33, 90), (90, 33)])
def test_result_is_a_square_whatever_the_shape(
    tmp_path: Path, size: int, shape: tuple[int, int]
) -> None:
    path = save(tmp_path / "a.png", Image.new("L", shape[::-1], 77))
    pixels = load_grey(path, size)
    assert pixels.shape == (size, size)
    assert pixels.dtype == np.uint8
    assert (pixels == 77).all()


def test_each_call_gives_a_new_array(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(NOISE))
    load_grey(path, 48)[:] = 0
    np.testing.assert_array_equal(load_grey(path, 48), NOISE)


def test_wide_picture_is_squeezed_and_nothing_is_cropped(tmp_path: Path) -> None:
    wide = np.zeros((40, 160), dtype=np.uint8)
    wide[:, 120:] = 255
    pixels = load_grey(save(tmp_path / "a.png", Image.fromarray(wide)), 64)
    assert (pixels[:, :46] == 0).all()
    assert (pixels[:, 50:] == 255).all()
    tall = load_grey(save(tmp_path / "b.png", Image.fromarray(wide.T.copy())), 64)
    np.testing.assert_array_equal(tall, pixels.T)


def test_fine_detail_is_averaged_not_skipped(tmp_path: Path) -> None:
    stripes = np.zeros((256, 256), dtype=np.uint8)
    stripes[:, ::2] = 255
    pixels = load_grey(save(tmp_path / "a.png", Image.fromarray(stripes)), 64)
    assert pixels[:, 2:-2].min() > 120
    assert pixels[:, 2:-2].max() < 136


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


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("scale", [1, 257], ids=["8-bit", "16-bit"])
def test_exif_orientation_moves_the_pixels(tmp_path: Path, orientation: int, scale: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    stored = NOISE if scale == 1 else NOISE.astype(np.uint16) * scale
    path = save(tmp_path / "a.png", Image.fromarray(stored), exif=exif)
    np.testing.assert_array_equal(load_grey(path, 48), TURNS[orientation](NOISE))


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_orientation_of_a_jpeg_is_applied_before_squeezing(
    tmp_path: Path, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    stored = np.zeros((40, 80), dtype=np.uint8)
    stored[:20, :20] = 255
    path = save(tmp_path / "a.jpg", Image.fromarray(stored), "JPEG", quality=95, exif=exif)
    small = load_grey(path, 64)[4::8, 4::8] > 127
    shown = TURNS[orientation](stored)
    expected = shown[:: shown.shape[0] // 8, :: shown.shape[1] // 8] > 127
    np.testing.assert_array_equal(small, expected)


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


def test_content_decides_not_the_extension(tmp_path: Path) -> None:
    path = save(tmp_path / "really-a.jpg", Image.fromarray(NOISE), "PNG")
    np.testing.assert_array_equal(load_grey(path, 48), NOISE)


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


def test_file_names_outside_utf_8_are_opened(tmp_path: Path) -> None:
    path = save(tmp_path / 'r\udcf6ntgen,"1"\n.png', Image.fromarray(NOISE))
    np.testing.assert_array_equal(load_grey(path, 48), NOISE)


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


_LOAD = (
    "import sys, pathlib; from cxredge.data.images import load_grey as f\nfor n in sys.argv[1:]:"
)
_LOAD += "\n try: f(pathlib.Path(n), 32)\n except Exception as e: assert n.endswith('large.png'), e"


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


@settings(max_examples=150, deadline=None)
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


@pytest.mark.parametrize(
    ("name", "is_image"),
    [
        ("a.png", True),
        ("A.PNG", True),
        ("a.JpEg", True),
        ("a.b.jpg", True),
        (".a.png", False),
        (".png", False),
        ("a.gif", False),
        ("png", False),
        ("a.png.txt", False),
        ("a.png ", False),
    ],
)
def test_image_names(name: str, is_image: bool) -> None:
    assert is_image_name(name) is is_image


def test_listing_is_sorted_flat_and_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "C.jpeg", ".hidden.png", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "deep.png").touch()
    assert [path.name for path in list_images(tmp_path)] == ["C.jpeg", "a.JPG", "b.png"]


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(("width", "height"), [(2048, 1792), (901, 449), (450, 3000)])
def test_large_jpegs_are_decoded_smaller_and_come_out_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, height: int, mode: str
) -> None:
    ramp = np.add.outer(np.sin(np.linspace(0, 20, height)), np.cos(np.linspace(0, 15, width)))
    image = Image.fromarray((127 + 60 * ramp).astype(np.uint8)).convert(mode)
    path = save(tmp_path / "large.jpg", image, "JPEG", quality=95)
    decoded: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def spy(self: Image.Image, *arguments: object) -> Image.Image:
        decoded.append(self.size)
        return resize(self, *arguments)

    monkeypatch.setattr(Image.Image, "resize", spy)
    small = load_grey(path, 224)
    monkeypatch.undo()
    whole = image.convert("L").resize((224, 224), Image.Resampling.BILINEAR)
    # An odd side is rounded up when halved, which moves pixels by up to half of one.
    assert np.abs(small.astype(int) - np.asarray(whole)).mean() < 1.5
    ((found_width, found_height),) = decoded
    assert found_width < width
    assert min(found_width, found_height) >= 224


def test_stages_are_heard_in_their_order(tmp_path: Path) -> None:
    Image.fromarray(np.full((80, 90), 7, np.uint8)).save(tmp_path / "x.png")
    heard: list[str] = []
    pixels = load_grey(tmp_path / "x.png", 64, heard.append)
    assert tuple(heard) == STAGES
    np.testing.assert_array_equal(pixels, load_grey(tmp_path / "x.png", 64))


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    heard: list[str] = []
    with pytest.raises(ImageError, match="640 are read") as caught:
        load_grey(path, 64, heard.append)
    assert caught.value.problem is ImageProblem.TOO_LARGE
    assert heard == []
