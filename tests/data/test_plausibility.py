"""Pictures that cannot be chest X-rays are refused by their grey values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxredge.data.images import load_xray
from cxredge.data.loading import check_samples, load_entry
from cxredge.data.manifest import Sample
from cxredge.data.phantoms import ALL_LABELS, render_phantom
from cxredge.errors import Caution, DataError, ImageError, ImageProblem
from tests.data.image_files import GREY_ALPHA, RGB, entry, handmade_png, save

RGBA = 6
PHANTOM = render_phantom("normal", 0, 0, 128)
RNG = np.random.default_rng(3)
BLANK = np.zeros((128, 128), np.uint8)


def marked(picture: np.ndarray) -> np.ndarray:
    """Return a picture with a white label in its corner."""
    labelled = picture.copy()
    labelled[:12, :12] = 255
    return labelled


IMPLAUSIBLE = {
    "black": BLANK,
    "black with a label": marked(BLANK),
    "almost black": PHANTOM // 16,
    "one grey value": BLANK + 128,
    "one grey value with a label": marked(BLANK + 100),
    "almost white": 255 - PHANTOM // 16,
    "page": np.where(np.arange(128) % 32 < 2, 0, 255).astype(np.uint8) * np.ones_like(BLANK),
    "noise": RNG.integers(0, 256, (128, 128), dtype=np.uint8),
    "coarse noise": RNG.integers(0, 256, (32, 32), dtype=np.uint8).repeat(8, 0).repeat(8, 1),
    "faint noise": RNG.normal(128, 12, (128, 128)).astype(np.uint8),
}


def problem_of(source: object, size: int = 64) -> ImageProblem:
    with pytest.raises(ImageError) as caught:
        load_xray(source, size)
    assert caught.value.hint
    return caught.value.problem


@pytest.mark.parametrize("size", [32, 224])
@pytest.mark.parametrize("name", IMPLAUSIBLE)
def test_a_picture_that_cannot_be_an_x_ray_is_refused(name: str, size: int) -> None:
    assert problem_of(IMPLAUSIBLE[name], size) is ImageProblem.IMPLAUSIBLE


def test_a_transparent_picture_is_black(tmp_path: Path) -> None:
    clear = Image.merge("LA", (Image.fromarray(PHANTOM), Image.new("L", (128, 128), 0)))
    path = save(tmp_path / "a.png", clear)
    assert problem_of(path) is ImageProblem.IMPLAUSIBLE


@pytest.mark.parametrize("label", ALL_LABELS)
@pytest.mark.parametrize("size", [32, 224])
def test_phantoms_are_accepted_without_a_caution(label: str, size: int) -> None:
    for patient in range(4):
        picture = render_phantom(label, patient, 0)
        for shown in (picture, marked(picture), picture[:, ::-1], picture // 2, 128 + picture // 2):
            assert load_xray(np.ascontiguousarray(shown), size).cautions == ()


@pytest.mark.parametrize("white", ["margin", "overexposed"])
def test_an_x_ray_with_much_white_has_a_caution(white: str) -> None:
    shown = np.full((256, 256), 255, np.uint8)
    if white == "margin":
        shown[64:192, 64:192] = PHANTOM
    else:
        shown = np.clip(PHANTOM * 4.0, 0, 255).astype(np.uint8)
    assert load_xray(shown, 64).cautions == (Caution.MOSTLY_WHITE,)


def test_a_page_of_text_is_refused() -> None:
    page = np.full((256, 256), 255, np.uint8)
    page[20:110:6, 20:230] = RNG.choice([0, 255], (15, 210), p=[0.6, 0.4])
    assert problem_of(page) is ImageProblem.IMPLAUSIBLE


def deep_png(values: np.ndarray, colour: int) -> bytes:
    """Return a 16-bit PNG of grey values, (height, width), in another colour type."""
    opaque = np.full_like(values, 65535)
    channels = {
        GREY_ALPHA: [values, opaque],
        RGB: [values] * 3,
        RGBA: [values, values, values, opaque],
    }.get(colour, [values])
    rows = np.stack(channels, -1).astype(">u2").reshape(len(values), -1)
    content = b"".join(b"\0" + row.tobytes() for row in rows)
    return handmade_png(values.shape[1], values.shape[0], content, 16, colour)


@pytest.mark.parametrize("colour", [0, GREY_ALPHA, RGB, RGBA])
def test_values_of_16_bits_must_span_their_range(colour: int) -> None:
    values = np.rint(PHANTOM * (4095 / 255)).astype(np.uint16)
    assert problem_of(deep_png(values, colour)) is ImageProblem.NOT_SCALED
    values[:8, :8] = 65535
    assert problem_of(deep_png(values, colour)) is ImageProblem.NOT_SCALED
    deeper = deep_png(np.rint(PHANTOM * (16383 / 255)).astype(np.uint16), colour)
    assert load_xray(deeper, 64).cautions == (Caution.NARROW_RANGE,)
    full = load_xray(deep_png(PHANTOM.astype(np.uint16) * 257, colour), 128)
    assert full.cautions == ()
    np.testing.assert_array_equal(full.pixels, PHANTOM)


@pytest.mark.parametrize("kind", [np.uint16, np.int32])
def test_values_in_memory_must_span_their_range(kind: type) -> None:
    values = marked(PHANTOM).astype(np.uint16) * 16
    values[:12, :12] = 65535
    picture = values if kind is np.uint16 else Image.fromarray(values.astype(np.int32))
    assert problem_of(picture) is ImageProblem.NOT_SCALED


def test_preparation_leaves_out_what_training_would_refuse(tmp_path: Path) -> None:
    good = save(tmp_path / "good.png", Image.fromarray(PHANTOM))
    black = save(tmp_path / "black.png", Image.fromarray(BLANK))
    kept, dropped = check_samples([Sample(path, "normal", "p", "s") for path in (good, black)])
    assert [one.path for one in kept] == [good]
    assert dropped == {"implausible": 1}
    with pytest.raises(DataError, match=r"black\.png is black; expected a chest X-ray"):
        load_entry(entry(black, sha256=""), 64)
