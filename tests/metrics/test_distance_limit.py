"""The limit of distances, and the images too near to it for a reduced precision to decide."""

from __future__ import annotations

import numpy as np
import pytest

from cxredge.metrics.distance_limit import DistanceLimit, fit_limit, match_limit

RNG = np.random.default_rng(0)


def test_fp32_keeps_the_share_of_the_validation_images() -> None:
    distances = RNG.lognormal(size=200)
    for share in (0.5, 0.95, 1.0):
        assert fit_limit(distances, share).refused(distances).mean() == pytest.approx(1 - share)


@pytest.mark.parametrize("noise", [0.001, 0.03, 0.5])
def test_what_is_not_near_the_limit_is_refused_or_answered_as_by_fp32(noise: float) -> None:
    """On validation images always, on others with a probability of 1 / (n + 1) at most."""
    reference = RNG.lognormal(0, 0.3, 5000)
    distances = 1.7 * reference * np.exp(RNG.normal(0, noise, 5000))
    seen = slice(0, 1000)
    fp32 = fit_limit(reference[seen], 0.9)
    limit = match_limit(fp32, reference[seen], distances[seen])
    other = fp32.refused(reference) != limit.refused(distances)
    assert other[1000:].any() or noise == 0.001
    assert not other[~limit.near(distances)][:800].any()
    assert (other & ~limit.near(distances)).sum() <= 20
    assert limit.max_distance == pytest.approx(1.7 * fp32.max_distance, rel=2 * noise)


def test_near_is_as_far_below_the_limit_as_above_it_in_logarithms() -> None:
    limit = DistanceLimit(2.0, float(np.log(1.25)))
    assert limit.near(np.array([1.59, 1.61, 2.0, 2.49, 2.51])).tolist() == [
        False, True, True, True, False
    ]  # fmt: skip
    assert DistanceLimit(2.0).near(np.array([1.99, 2.01])).tolist() == [False, False]


def test_distances_of_zero_have_no_ratio() -> None:
    limit = fit_limit(np.array([0.0, 0.0, 1.0]), 1.0)
    assert match_limit(limit, np.zeros(3), np.array([0.0, 1.0, 2.0])) == limit
    found = match_limit(limit, np.array([0.0, 1.0, 1.0]), np.array([1.0, 2.0, 2.0]))
    assert (found.max_distance, found.shift) == (pytest.approx(2.0), 0.0)
