"""Distances from the neighbours in a bank of training images."""

from __future__ import annotations

import numpy as np
import pytest

from cxredge.metrics.reference_bank import MAX_VECTORS, fit_bank

LABELS = np.arange(400) % 4


def features(rng: np.random.Generator, *widths: int) -> np.ndarray:
    """Layers whose features are copies of two factors, of any scale and offset."""
    layers = [
        rng.normal(size=(len(LABELS), 2)) @ rng.normal(size=(2, width)) * 10.0**number + width
        for number, width in enumerate(widths)
    ]
    return np.concatenate(layers, axis=1)


def test_every_layer_has_the_same_weight_however_wide_it_is() -> None:
    rng = np.random.default_rng(0)
    known = features(rng, 4, 400)
    bank = fit_bank(known, LABELS, (4, 400))
    typical = known.std(axis=0)
    apart = []
    for columns in (slice(0, 4), slice(4, None)):
        strange = known[:1].repeat(2, axis=0)
        strange[1, columns] += 30 * typical[columns]
        distances = bank.distances(strange)
        apart.append(distances[1] / distances[0])
    assert apart[0] == pytest.approx(apart[1], rel=0.2)
    # One layer of all features hardly sees the narrow one.
    one = fit_bank(known, LABELS, (404,))
    strange = known[:1].repeat(2, axis=0)
    strange[1, :4] += 30 * typical[:4]
    before, after = one.distances(strange)
    assert after / before < 0.5 * apart[0]


def test_training_images_are_near_and_kept_of_every_class() -> None:
    rng = np.random.default_rng(1)
    known = features(rng, 8, 16)
    bank = fit_bank(known, LABELS, (8, 16))
    assert bank.vectors.shape == (MAX_VECTORS, 24)
    assert bank.axes.T @ bank.axes == pytest.approx(np.eye(24), abs=1e-5)
    assert np.median(bank.distances(known)) < 0.1 * bank.distances(known[:1] + 100)[0]


def test_few_images_have_fewer_neighbours() -> None:
    known = np.random.default_rng(2).normal(size=(3, 5))
    bank = fit_bank(known, np.array([0, 1, 1]), (5,))
    assert (bank.neighbour, bank.vectors.shape) == (3, (3, 3))
    farthest = np.sqrt(((bank.vectors[0] - bank.vectors) ** 2).sum(axis=1).max() / 5)
    assert bank.distances(known)[0] == pytest.approx(farthest, rel=1e-4)
