"""Colours of heatmaps: rising lightness and equal steps, by a formula other than their own."""

from __future__ import annotations

import numpy as np

from cxredge.heatmaps.blend import blend, upper_end
from cxredge.heatmaps.colours import colours

_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.9505, 1.0, 1.089])


def cielab(rgb: np.ndarray) -> np.ndarray:
    """Return sRGB colours, uint8 (N, 3), in CIELAB."""
    curved = rgb / 255
    linear = np.where(curved <= 0.04045, curved / 12.92, ((curved + 0.055) / 1.055) ** 2.4)
    share = linear @ _XYZ.T / _WHITE
    f = np.where(share > (6 / 29) ** 3, np.cbrt(share), share * (29 / 6) ** 2 / 3 + 4 / 29)
    return np.stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1
    )


def test_lightness_rises_and_steps_look_equal() -> None:
    lab = cielab(colours())
    coarse = lab[::15]
    assert (np.diff(coarse[:, 0]) > 1).all()
    steps = np.linalg.norm(np.diff(coarse, axis=0), axis=1)
    assert steps.max() < 2.5 * steps.min()


def test_colours_are_all_different_and_cannot_be_changed() -> None:
    assert len(np.unique(colours(), axis=0)) == 256
    assert not colours().flags.writeable


def test_no_evidence_leaves_the_xray_as_it_is() -> None:
    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    values = np.linspace(-3, 0, 64, dtype=np.float32).reshape(8, 8)
    np.testing.assert_array_equal(blend(picture, values, 2.0), np.stack([picture] * 3, axis=2))


def test_more_evidence_is_more_colour_up_to_the_end_of_the_scale() -> None:
    picture = np.full((1, 4), 100, np.uint8)
    mixed = blend(picture, np.array([[0.05, 1, 2, 9]], np.float32), 2.0).astype(int)
    distance = np.abs(mixed[0] - 100).sum(axis=1)
    assert distance[0] < distance[1]
    np.testing.assert_array_equal(mixed[0, 2], mixed[0, 3])


def test_a_scale_ends_at_a_round_number() -> None:
    ends = [upper_end(value) for value in (-1.0, 0.0, 0.42, 1.0, 1.01, 5.92, 9.1, 44.0, np.nan)]
    assert np.allclose(ends, [0.01, 0.01, 0.5, 1.0, 1.5, 6.0, 10.0, 50.0, 0.01])
