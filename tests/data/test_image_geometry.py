"""Geometry: resizing to the square, EXIF orientation, averaging of finer pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxredge.data.images import load_grey
from tests.data.image_files import NOISE, save


@pytest.mark.parametrize("size", [1, 31, 224, 331])
@pytest.mark.parametrize("shape", [(48, 48), (33, 90), (90, 33)])
def test_result_is_a_square_for_any_shape(
    tmp_path: Path, size: int, shape: tuple[int, int]
) -> None:
    path = save(tmp_path / "a.png", Image.new("L", shape[::-1], 77))
    pixels = load_grey(path, size)
    assert pixels.shape == (size, size)
    assert pixels.dtype == np.uint8
    assert (pixels == 77).all()


def test_wide_image_is_resized_without_cropping(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(("width", "height"), [(2048, 1792), (901, 449), (450, 3000)])
def test_large_jpegs_are_decoded_at_a_fraction_with_the_same_result(
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
