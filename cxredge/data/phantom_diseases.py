"""Diseases of a phantom: opacities where the lung has lost its air, 0 to about 1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cxredge.data.phantom_anatomy import Anatomy, Plane, U, X, Y, clouds, edge, strokes, tree


def _healthy(rng: np.random.Generator, anatomy: Anatomy, course: float) -> Plane:
    return np.zeros_like(anatomy.lungs)


def _lobar(rng: np.random.Generator, anatomy: Anatomy, course: float) -> Plane:
    """Draw one dense lobe in one lung, crossed by air-filled, dark bronchi."""
    right = int(rng.integers(2))
    x = (2 * right - 1) * rng.uniform(0.34, 0.48)
    y = rng.choice([-0.38, 0.05, anatomy.base[right] - 0.18]) + rng.normal(0.0, 0.04)
    size = rng.uniform(0.22, 0.34) * course
    radius = np.sqrt(((X - x) / 1.25) ** 2 + (Y - y) ** 2) + 0.035 * clouds(rng, 9)
    lobe = edge(size - radius, 0.025) * rng.uniform(0.32, 0.92) * course
    bronchi = strokes(tree(rng, 8, 0.45)[:2], 3, 0.6)
    return np.asarray(lobe * (1.0 - bronchi), np.float32)


def _interstitial(rng: np.random.Generator, anatomy: Anatomy, course: float) -> Plane:
    """Draw streaks from both hila and a fine net over both lungs."""
    grade = rng.uniform(0.38, 1.2) * course
    streaks = strokes(tree(rng, 14, 0.50), 3, 0.45)
    net = np.exp(-((clouds(rng, 44) / 0.35) ** 2)) * np.clip(0.6 + 0.4 * clouds(rng, 5), 0, 1)
    near = np.exp(-(((U - 0.2) / 0.35) ** 2) - ((Y - 0.05) / 0.45) ** 2)
    return np.asarray(grade * (streaks + (0.30 * net + 0.20) * (0.3 + 0.7 * near)), np.float32)


def _patches(
    rng: np.random.Generator, anatomy: Anatomy, sides: NDArray[np.int64], grades: Plane
) -> Plane:
    """Draw hazy patches along the chest wall of the lower zones, one per entry of ``sides``."""
    haze = np.zeros_like(anatomy.lungs)
    ragged = 0.30 * clouds(rng, 12)
    for side, grade in zip(sides.tolist(), grades.tolist(), strict=True):
        x = (2 * side - 1) * (anatomy.outer - rng.uniform(0.04, 0.16))
        y = anatomy.base[side] + rng.uniform(-0.50, 0.08)
        wide, high = rng.uniform(0.14, 0.22), rng.uniform(0.15, 0.26)
        radius = ((X - x) / wide) ** 2 + ((Y - y) / high) ** 2
        haze = np.maximum(haze, grade * np.exp(-(np.clip(radius + ragged, 0.0, None) ** 1.5)))
    return np.asarray(haze, np.float32)


def _ground_glass(rng: np.random.Generator, anatomy: Anatomy, course: float) -> Plane:
    """Draw several faint patches in both lungs (COVID-19)."""
    sides = np.arange(rng.integers(4, 8)) % 2
    grades = rng.uniform(0.7, 1.2, sides.size) * rng.uniform(0.28, 0.72) * course
    return _patches(rng, anatomy, sides, grades)


def _patchy(rng: np.random.Generator, anatomy: Anatomy, course: float) -> Plane:
    """Draw one to three denser patches, mostly in one lung (SARS)."""
    sides = np.full(rng.integers(1, 4), rng.integers(2))
    if sides.size == 3:
        sides[2] = 1 - sides[2]
    grades = rng.uniform(0.8, 1.2, sides.size) * rng.uniform(0.65, 0.9) * course
    return _patches(rng, anatomy, sides, grades)


DISEASES: dict[str, Callable[[np.random.Generator, Anatomy, float], Plane]] = {
    "bacterial": _lobar,
    "covid19": _ground_glass,
    "normal": _healthy,
    "sars": _patchy,
    "viral": _interstitial,
}
