from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cxredge.data.appearance import Appearance, border_of, statistics_of
from cxredge.data.manifest import Entry
from cxredge.data.shortcuts import Shortcuts, find_shortcuts, fit_ridge, shortcut_warnings
from cxredge.vocabulary import Split

CLASSES = ("a", "b", "c")


def looks(border_tells: bool, classes: tuple[str, ...] = CLASSES, test: bool = True) -> Appearance:
    """60 training and 30 test images per class; the border identifies class 'a', or none."""
    rng = np.random.default_rng(0)
    splits = [Split.TRAIN] * 60 + [Split.TEST if test else Split.VAL] * 30
    entries = tuple(
        Entry(Path(f"{label}{n}.png"), label, f"{label}{n}", "s", split=split)
        for label in classes
        for n, split in enumerate(splits)
    )
    is_a = np.array([entry.label == "a" for entry in entries])
    border = rng.normal(100, 20, (len(entries), 240)).astype(np.float32)
    if border_tells:
        border[is_a, :40] += 30
    statistics = rng.normal(0, 1, (len(entries), 30)).astype(np.float32)
    hashes = np.zeros((len(entries), 69), np.uint8)
    return Appearance(entries, hashes, border, statistics, Counter())


def test_border_that_identifies_a_class_draws_a_warning() -> None:
    found = find_shortcuts(looks(border_tells=True))
    border, statistics = found.border, found.statistics
    assert border is not None
    assert statistics is not None
    assert border.chance == pytest.approx(1 / 3)
    assert border.images == 90
    assert border.ci95[0] < border.accuracy < border.ci95[1]
    pairs = {pair.classes: pair for pair in border.pairs}
    assert pairs["a", "b"].accuracy > 0.95
    assert pairs["a", "c"].accuracy > 0.95
    assert pairs["b", "c"].accuracy < 0.7
    assert pairs["b", "c"].chance == 0.5
    assert statistics.accuracy < 0.5
    (warning,) = shortcut_warnings(found)
    assert "outer 2 of 32x32 pixels" in warning
    assert f"{border.accuracy:.1%}" in warning
    assert "90 test images" in warning
    assert "separates 'a' from" in warning


def test_useless_features_draw_no_warning() -> None:
    assert shortcut_warnings(find_shortcuts(looks(border_tells=False))) == []


@pytest.mark.parametrize("look", [looks(True, test=False), looks(True, ("a",))])
def test_set_without_test_images_or_classes_has_no_result(look: Appearance) -> None:
    found = find_shortcuts(look)
    assert found == Shortcuts(None, None)
    assert shortcut_warnings(found) == []


def test_ridge_does_not_depend_on_the_scale_of_features() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(200, 5))
    labels = np.where(features @ [1, -2, 0, 0, 1] > 0, "yes", "no")
    scale, offset = np.array([1e-3, 1, 1e4, 1, 10]), np.array([5, 0, -1e4, 2, 0])
    plain = fit_ridge(features[:150], labels[:150]).predict(features[150:])
    scaled = features * scale + offset
    np.testing.assert_array_equal(
        fit_ridge(scaled[:150], labels[:150]).predict(scaled[150:]), plain
    )
    assert np.mean(plain == labels[150:]) > 0.9


def test_border_ignores_inner_pixels_and_statistics_ignore_positions() -> None:
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (128, 128), dtype=np.uint8)
    inner = pixels.copy()
    inner[8:-8, 8:-8] = 0
    assert border_of(pixels).shape == (240,)
    np.testing.assert_array_equal(border_of(pixels), border_of(inner))
    outer = pixels.copy()
    outer[:8] = 0
    assert not np.array_equal(border_of(pixels), border_of(outer))
    assert statistics_of(pixels).shape == (30,)
    np.testing.assert_allclose(statistics_of(pixels), statistics_of(pixels[::-1, ::-1]), rtol=1e-4)
    grey = statistics_of(np.full((128, 128), 77, np.uint8))
    assert np.isfinite(grey).all()
    assert (grey[4], grey[16], grey[17]) == (1, 77, 0)
