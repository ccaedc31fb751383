"""Upside down and inverted X-rays, told by templates of upright ones."""

from __future__ import annotations

import numpy as np
import pytest

from cxredge.data.phantoms import LABELS, render_phantom
from cxredge.metrics import orientation
from cxredge.metrics.orientation import Orientation, OrientationTemplates, fit_orientation


def phantoms(first: int, count: int, size: int = 96) -> np.ndarray:
    chosen = range(first, first + count)
    return np.stack([render_phantom(LABELS[n % len(LABELS)], n, 0, size) for n in chosen])


@pytest.fixture(scope="module")
def templates() -> OrientationTemplates:
    return fit_orientation(phantoms(0, 60))


@pytest.mark.parametrize("upside_down", [False, True])
@pytest.mark.parametrize("inverted", [False, True])
def test_other_patients_are_judged(
    templates: OrientationTemplates, upside_down: bool, inverted: bool
) -> None:
    pictures = phantoms(1000, 60, size=128)
    shown = pictures[:, ::-1] if upside_down else pictures
    shown = 255 - shown if inverted else shown
    expected = Orientation(upside_down, inverted)
    assert sum(templates.judge(one) == expected for one in shown) >= 59


def test_a_turn_by_180_degrees_is_upside_down_and_a_mirrored_picture_is_not(
    templates: OrientationTemplates,
) -> None:
    picture = phantoms(1000, 1)[0]
    assert templates.judge(picture[::-1, ::-1]) == Orientation(upside_down=True, inverted=False)
    assert templates.judge(picture[:, ::-1]) == Orientation(upside_down=False, inverted=False)


def test_a_flat_picture_has_no_orientation(templates: OrientationTemplates) -> None:
    flat = np.full((64, 64), 7, np.uint8)
    assert templates.judge(flat) == Orientation(upside_down=False, inverted=False)
    assert np.isfinite(fit_orientation(np.stack([flat, phantoms(0, 1, 64)[0]])).kept).all()


def test_a_template_is_that_of_ridge_regression() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
    parts = np.random.default_rng(0).normal(size=(40, 16, 16)) + 0.3
    flat = parts.reshape(40, -1)
    penalty = orientation._PENALTY * (flat**2).sum() / 40
    expected = linear_model.Ridge(penalty, fit_intercept=False).fit(flat, np.ones(40)).coef_
    assert orientation._template(parts).ravel() == pytest.approx(expected, rel=1e-6)
