"""Recognition of image files, and properties of every decoded image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxredge.data.images import STAGES, is_image_name, list_images, load_grey
from tests.data.image_files import NOISE, save


def test_an_image_of_the_requested_size_is_unchanged(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(NOISE))
    pixels = load_grey(path, 48)
    np.testing.assert_array_equal(pixels, NOISE)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous


def test_each_call_returns_a_new_array(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(NOISE))
    load_grey(path, 48)[:] = 0
    np.testing.assert_array_equal(load_grey(path, 48), NOISE)


def test_content_decides_not_the_extension(tmp_path: Path) -> None:
    path = save(tmp_path / "really-a.jpg", Image.fromarray(NOISE), "PNG")
    np.testing.assert_array_equal(load_grey(path, 48), NOISE)


def test_file_names_outside_utf_8_are_opened(tmp_path: Path) -> None:
    path = save(tmp_path / 'r\udcf6ntgen,"1"\n.png', Image.fromarray(NOISE))
    np.testing.assert_array_equal(load_grey(path, 48), NOISE)


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


def test_stages_are_reported_in_order(tmp_path: Path) -> None:
    Image.fromarray(np.full((80, 90), 7, np.uint8)).save(tmp_path / "x.png")
    heard: list[str] = []
    pixels = load_grey(tmp_path / "x.png", 64, heard.append)
    assert tuple(heard) == STAGES
    np.testing.assert_array_equal(pixels, load_grey(tmp_path / "x.png", 64))
