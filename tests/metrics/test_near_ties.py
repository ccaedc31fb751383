"""Near ties: what is beyond the margin is decided as by FP32, and what FP32 decides is FP32's."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cxredge.artifacts.records import from_json, to_json
from cxredge.errors import ArtifactError
from cxredge.metrics.near_ties import (
    NearTies,
    are_near,
    decided_again,
    expect_flips,
    leads,
    margins,
    measure_near_ties,
)


def test_margin_is_the_first_logit_minus_the_second() -> None:
    logits = np.array([[1.0, 4.0, 3.5], [2.0, 2.0, -1.0], [-3.0, -1.0, -2.0]])
    assert margins(logits) == pytest.approx([0.5, 0.0, 1.0])


def test_a_lead_is_what_the_first_class_was_raised_by_against_another() -> None:
    reference = np.array([[0.0, 1.0, 2.0]] * 4)
    shifted, raised = [5.0, 6.0, 7.0], [0.0, 1.0, 2.3]
    lowered, others = [0.2, 1.0, 1.8], [0.1, 0.8, 2.0]
    found = leads(reference, np.array([shifted, raised, lowered, others]))
    assert found == pytest.approx([0.0, 0.3, 0.0, 0.2])


@pytest.mark.parametrize("noise", [0.01, 0.3, 3.0])
def test_what_leads_by_less_than_its_margin_is_decided_alike(noise: float) -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(0, 1, (20_000, 4))
    candidate = reference + rng.normal(0, noise, reference.shape)
    flipped = reference.argmax(axis=1) != candidate.argmax(axis=1)
    assert flipped.any()
    assert (leads(reference, candidate)[flipped] >= margins(candidate)[flipped]).all()


def test_no_validation_image_is_decided_otherwise_once_fp32_decides_near_ties() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        reference = rng.normal(0, 1, (200, 3))
        candidate = reference + rng.normal(0, 0.2, reference.shape)
        margin = leads(reference, candidate).max()
        decided = decided_again(reference, candidate, are_near(candidate, margin))
        assert (decided.argmax(axis=1) == reference.argmax(axis=1)).all()


def test_a_new_image_leads_by_more_as_seldom_as_is_said() -> None:
    rng = np.random.default_rng(2)
    beyond, images = 0, 19
    for _ in range(4000):
        # Leads with a heavy tail: the bound holds whatever their distribution.
        moved = rng.standard_cauchy((images + 1, 3))
        seen = np.zeros((images, 3)), moved[:images]
        new = np.zeros((1, 3)), moved[images:]
        found = measure_near_ties(seen, new, np.array([0]))
        beyond += leads(*new)[0] > found.margin
    assert found.risk == 0.05
    # 200 are expected; 5 standard deviations are 69.
    assert 131 < beyond < 269


def test_near_ties_are_counted_on_held_out_images() -> None:
    validation = np.array([[0.0, 2.0]]), np.array([[0.0, 2.5]])
    reference = np.array([[0.0, 0.2], [0.0, 0.6], [0.0, 3.0], [3.0, 0.0]])
    candidate = np.array([[0.2, 0.0], [0.6, 0.0], [0.0, 2.0], [2.0, 0.0]])
    found = measure_near_ties(validation, (reference, candidate), np.array([1, 1, 1, 1]))
    assert found == NearTies(
        margin=0.5, validation_images=1, images=4, near=1, flipped=1, accuracy=0.5, expected_flips=0
    )
    assert (found.share, found.agreement, found.risk) == (0.25, 0.75, 0.5)
    at_limit = np.array([True, True, False, False])
    more = measure_near_ties(validation, (reference, candidate), np.ones(4, int), at_limit)
    assert (more.near, more.at_limit, more.flipped, more.accuracy) == (2, 1, 0, 0.75)
    assert are_near(candidate, 0.5).tolist() == [True, False, False, False]
    decided = decided_again(reference, candidate, are_near(candidate, 0.5))
    assert decided.tolist() == [reference[0].tolist(), *candidate[1:].tolist()]


def test_flips_are_expected_where_the_first_two_come_together() -> None:
    fp32 = np.array([[0.0, 1.0, 5.0], [4.0, 0.0, 1.0], [0.0, 0.0, 9.0], [0.0, 9.0, 1.0]])
    # First minus second: 3.0 becomes 3.5, 4.0 becomes 3.7; of wider margins nothing is asked here,
    # and third classes play no part.
    candidate = np.array([[9.0, 1.2, 4.9], [4.2, -9.0, 0.7], [0.0, 0.0, 0.0], [0.0, 0.0, 9.0]])
    reference = np.array([[0.0, 0.2, -1.0], [0.0, 0.4, -1.0], [0.0, 0.1, -1.0]])
    assert expect_flips((fp32, candidate), reference) == pytest.approx(2 / 2)


@pytest.mark.parametrize("noise", [0.02, 0.1])
@pytest.mark.parametrize("calm", [1.0, 0.2])
def test_as_many_are_decided_otherwise_as_are_expected(noise: float, calm: float) -> None:
    """Also where clear cases are moved less than near ties."""
    rng = np.random.default_rng(3)
    reference = rng.normal(0, 1, (40_000, 3))
    share = np.where(margins(reference) > 1, calm, 1.0)[:, None]
    candidate = reference + share * rng.normal(0, noise, reference.shape)
    expected = expect_flips((reference[:20_000], candidate[:20_000]), reference[20_000:])
    seen = (reference[20_000:].argmax(axis=1) != candidate[20_000:].argmax(axis=1)).sum()
    assert abs(seen - expected) < 4 * np.sqrt(expected)


def test_they_are_read_as_they_were_written() -> None:
    found = NearTies(0.25, 120, 152, 6, 0, 0.83, 1.5)
    written = json.loads(json.dumps(to_json(found)))
    assert written["share"] == pytest.approx(6 / 152)
    assert from_json(written, NearTies, "card", "") == found


def test_cards_from_before_flips_were_expected_are_read() -> None:
    written = to_json(NearTies(0.25, 120, 152, 6, 0, 0.83, 1.5))
    del written["expected_flips"]
    assert from_json(written, NearTies, "card", "").expected_flips is None
    del written["margin"]
    with pytest.raises(ArtifactError, match="key 'margin' is missing"):
        from_json(written, NearTies, "card", "")
