"""Large images in strips have the same grey as whole ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxredge.data.images import load_grey
from cxredge.data.strips import look_up
from tests.data.image_files import save

RNG = np.random.default_rng(3)
COLOURS = Image.fromarray(RNG.integers(0, 256, (90, 70, 4), np.uint8), "RGBA")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("pixels", [1, 70 * 7, 70 * 89])
def test_every_mode(mode: str, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = COLOURS.convert("RGB").convert("P").convert(mode) if "P" in mode else None
    image = image or COLOURS.convert("RGB" if mode in ("CMYK", "YCbCr") else "RGBA").convert(mode)
    expected = load_grey(image, 64)
    monkeypatch.setattr("cxredge.data.strips.PIXELS", pixels)
    assert (load_grey(image, 64) == expected).all()


@pytest.mark.parametrize("key", [None, 77])
@pytest.mark.parametrize("turn", [1, 6])
def test_files_with_a_transparent_value_and_a_turn(
    key: int | None, turn: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"exif": exif, **({} if key is None else {"transparency": key})}
    paths = [
        save(tmp_path / "8.png", COLOURS.convert("L"), **options),
        save(tmp_path / "16.png", Image.fromarray(np.asarray(COLOURS)[..., 0] * np.uint16(257))),
    ]
    expected = [load_grey(path, 64) for path in paths]
    monkeypatch.setattr("cxredge.data.strips.PIXELS", 500)
    for path, grey in zip(paths, expected, strict=True):
        assert (load_grey(path, 64) == grey).all()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_table_is_looked_up_in_strips(
    kind: type[np.generic], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxredge.data.strips.PIXELS", 40)
    table = RNG.integers(0, 256, 256, np.uint8)
    index = RNG.integers(0, 256, (31, 17)).astype(kind)
    assert (look_up(table, index) == table[index]).all()
