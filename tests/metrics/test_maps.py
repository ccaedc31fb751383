"""Figures of class activation maps, compared with values that are known."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cxredge.metrics.maps import (
    UNIFORM_BORDER_SHARE,
    MapGrid,
    border_shares,
    delete_patches,
    measure_map_fidelity,
)


def test_an_even_grid_is_interpolated_as_pillow_does() -> None:
    values = np.random.default_rng(0).normal(size=(7, 7)).astype(np.float32)
    expected = Image.fromarray(values).resize((224, 224), Image.Resampling.BILINEAR)
    found = MapGrid.even(224, 7).upsample(values, 224, 224)
    np.testing.assert_allclose(found, np.asarray(expected), atol=1e-5)


def test_a_cell_has_its_value_on_the_pixel_of_its_centre() -> None:
    """In networks with symmetric padding, that of cell i of stride 32 is pixel 32 i."""
    values = np.random.default_rng(0).normal(size=(7, 7))
    found = MapGrid(224, 32.0, 0.0, 16.0).upsample(values, 224, 224)
    np.testing.assert_allclose(found[::32, 16::32], values)
    np.testing.assert_allclose(found[192:], found[192:193].repeat(32, axis=0))
    twice = MapGrid(224, 32.0, 0.0, 16.0).upsample(values, 448, 448)
    np.testing.assert_allclose(twice.reshape(224, 2, 448)[16:190].mean(axis=1)[:, ::2][:, 40:],
                               found[16:190, 40:], atol=0.05)  # fmt: skip


def test_equal_maps_agree_and_a_moved_peak_is_counted() -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(4, 3, 7, 7))
    decided = np.array([0, 2, 1, 0])
    same = measure_map_fidelity(maps, maps, decided)
    assert (same.images, same.correlation, same.peaks_kept) == (4, pytest.approx(1), 1)
    other = maps.copy()
    other[0, 0] = np.roll(maps[0, 0], 3, axis=0)
    other[1, 2] = np.roll(maps[1, 2], 1, axis=1)
    other[2, 0] = -maps[2, 0]  # not the class that was decided
    moved = measure_map_fidelity(maps, other, decided)
    expected = [
        np.corrcoef(maps[i, c].ravel(), other[i, c].ravel())[0, 1] for i, c in enumerate(decided)
    ]
    assert moved.correlation == pytest.approx(np.mean(expected))
    assert moved.peaks_kept in (0.5, 0.75)  # a peak at the edge may have been rolled around


def test_constant_maps_do_not_break_the_correlation() -> None:
    flat, ramp = np.zeros((1, 1, 3, 3)), np.arange(9.0).reshape(1, 1, 3, 3)
    decided = np.zeros(1, np.int64)
    assert measure_map_fidelity(flat, flat, decided).correlation == 1
    assert measure_map_fidelity(ramp, flat, decided).correlation == 0


def test_a_uniform_map_has_the_share_of_the_area_in_the_border() -> None:
    grid = MapGrid(224, 32.0, 0.0, 0.0)
    maps = np.stack([np.ones((7, 7)), -np.ones((7, 7)), np.zeros((7, 7)), np.zeros((7, 7))])
    maps[2, 3, 3] = maps[3, 0, 0] = 1
    uniform, empty, middle, corner = border_shares(maps, grid)
    assert uniform == pytest.approx(UNIFORM_BORDER_SHARE) == pytest.approx(0.4375)
    assert np.isnan(empty)
    assert middle == 0
    assert corner > 0.95


def test_deletion_falls_faster_along_a_map_that_names_what_counts() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(50, 60, (6, 56, 56)).astype(np.uint8)
    maps = np.zeros((6, 7, 7))
    for index in range(6):
        row, column = rng.integers(0, 7, 2)
        images[index, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = 255
        maps[index, row, column] = 1

    def probability(shown: np.ndarray) -> np.ndarray:
        return (shown == 255).mean(axis=(1, 2)) * 49

    def curve(found: np.ndarray):
        fills = np.full_like(images, 55)
        grid = MapGrid.even(56, 7)
        return delete_patches(images, found, grid, fills, probability, (0, 0.1, 0.5, 1), 7)

    every = curve(maps)
    right = every.mean()
    assert right.shares == (0, 5 / 49, 24 / 49, 1)
    assert right.by_map[0] == right.at_random[0] == pytest.approx(1)
    assert right.by_map[1:] == (0, 0, 0)
    assert right.at_random[1] > 0
    assert right.area_between > 0.2 > 0 > curve(-maps).mean().area_between
    first = every.mean(np.arange(6) == 0)
    assert first.at_random == tuple(every.at_random[:, 0])
