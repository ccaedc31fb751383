"""Near ties: what is beyond the margin is decided as by FP32, and what FP32 decides is FP32's."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cxredge.near_ties import (
    NearTies,
    are_near,
    decided_again,
    margins,
    measure_near_ties,
    movements,
)


def test_margin_is_the_first_logit_minus_the_second() -> None:
    logits = np.array([[1.0, 4.0, 3.5], [2.0, 2.0, -1.0], [-3.0, -1.0, -2.0]])
    assert margins(logits) == pytest.approx([0.5, 0.0, 1.0])


def test_movement_is_against_each_other() -> None:
    reference = np.array([[0.0, 1.0, 2.0]] * 3)
    shifted, one, two = [5.0, 6.0, 7.0], [0.0, 1.0, 2.3], [0.2, 0.9, 2.0]
    assert movements(reference, np.array([shifted, one, two])) == pytest.approx([0.0, 0.3, 0.3])


@pytest.mark.parametrize("noise", [0.01, 0.3, 3.0])
def test_what_moves_less_than_its_margin_is_decided_alike(noise: float) -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(0, 1, (20_000, 4))
    candidate = reference + rng.normal(0, noise, reference.shape)
    flipped = reference.argmax(axis=1) != candidate.argmax(axis=1)
    assert flipped.any()
    assert (movements(reference, candidate)[flipped] >= margins(candidate)[flipped]).all()


def test_no_validation_image_is_decided_otherwise_once_fp32_decides_near_ties() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        reference = rng.normal(0, 1, (200, 3))
        candidate = reference + rng.normal(0, 0.2, reference.shape)
        margin = movements(reference, candidate).max()
        decided = decided_again(reference, candidate, margin)
        assert (decided.argmax(axis=1) == reference.argmax(axis=1)).all()


def test_a_new_image_moves_beyond_the_margin_as_seldom_as_is_said() -> None:
    rng = np.random.default_rng(2)
    beyond, images = 0, 19
    for _ in range(4000):
        # Movements with a heavy tail: the bound holds whatever their distribution.
        moved = rng.standard_cauchy((images + 1, 3))
        seen = np.zeros((images, 3)), moved[:images]
        new = np.zeros((1, 3)), moved[images:]
        found = measure_near_ties(seen, new, np.array([0]))
        beyond += movements(*new)[0] > found.margin
    assert found.risk == 0.05
    # 200 are expected; 5 standard deviations are 69.
    assert 131 < beyond < 269


def test_near_ties_are_counted_on_held_out_images() -> None:
    validation = np.array([[0.0, 2.0]]), np.array([[0.5, 2.0]])
    reference = np.array([[0.0, 0.2], [0.0, 0.6], [0.0, 3.0], [3.0, 0.0]])
    candidate = np.array([[0.2, 0.0], [0.6, 0.0], [0.0, 2.0], [2.0, 0.0]])
    found = measure_near_ties(validation, (reference, candidate), np.array([1, 1, 1, 1]))
    assert found == NearTies(
        margin=0.5, validation_images=1, images=4, near=1, flipped=1, accuracy=0.5
    )
    assert (found.share, found.agreement, found.risk) == (0.25, 0.75, 0.5)
    assert are_near(candidate, 0.5).tolist() == [True, False, False, False]
    decided = decided_again(reference, candidate, 0.5)
    assert decided.tolist() == [reference[0].tolist(), *candidate[1:].tolist()]


def test_they_are_read_as_they_were_written() -> None:
    found = NearTies(0.25, 120, 152, 6, 0, 0.83)
    written = json.loads(json.dumps(found.to_json()))
    assert written["share"] == pytest.approx(6 / 152)
    assert NearTies.from_json(written) == found
