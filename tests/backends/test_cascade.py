"""A cascade: the second session infers and decides only the near ties of the first."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cxredge.backends.base import CascadeCounts, Outputs, Session, SessionSpec
from cxredge.backends.cascade import CascadeSession
from cxredge.metrics.distance_limit import DistanceLimit


class Fixed(Session):
    """First logit: an image's first pixel over a hundred. Records what it inferred."""

    def __init__(self, other: float, concurrent: bool = True) -> None:
        self.spec = SessionSpec(2, 2, "test", 1, concurrent, 4)
        self.other, self.seen, self.closed = other, list[int](), False

    def run(self, images: np.ndarray) -> Outputs:
        self.seen += images[:, 0, 0].tolist()
        found = images[:, 0, 0].astype(np.float32) / 100
        other = np.full(len(images), self.other, np.float32)
        maps = np.stack([found, other], axis=1)[:, :, None, None]
        return Outputs(np.stack([found, other], axis=1), other.copy(), maps)

    def close(self) -> None:
        self.closed = True


def images(*brightness: int) -> np.ndarray:
    return np.repeat(np.array(brightness, np.uint8), 4).reshape(-1, 2, 2)


def test_the_second_session_infers_and_decides_only_near_ties() -> None:
    first, second = Fixed(1.0), Fixed(1.08)
    with CascadeSession(first, second, 0.05) as cascade:
        found = cascade.run(images(90, 96, 104, 200))
        logits = found.logits
        assert found.decided_by_fp32 is not None
        assert found.decided_by_fp32.tolist() == [False, True, True, False]
        assert found.distances is not None
        assert found.distances == pytest.approx([1.0, 1.08, 1.08, 1.0])
        assert found.maps is not None
        assert found.maps[:, 1, 0, 0] == pytest.approx([1.0, 1.08, 1.08, 1.0])
        assert second.seen == [96, 104]
        assert logits[:, 1] == pytest.approx([1.0, 1.08, 1.08, 1.0])
        assert logits.argmax(axis=1).tolist() == [1, 1, 1, 0]
        assert cascade.infer(images(90)).tolist() == first.infer(images(90)).tolist()
        assert cascade.cascade == CascadeCounts(margin=0.05, images=5, near=2)
    assert first.closed
    assert second.closed


def test_images_near_the_limit_of_distances_are_near_ties() -> None:
    far = DistanceLimit(2.0, 0.1)
    near = DistanceLimit(1.05, 0.1)
    for limit, expected in ((far, []), (near, [0, 255]), (None, [])):
        first, second = Fixed(1.0), Fixed(1.2)
        found = CascadeSession(first, second, 0.05, limit).run(images(0, 255))
        assert second.seen == expected
        assert found.distances == pytest.approx(1.2 if expected else 1.0)


def test_other_images_are_inferred_once() -> None:
    first, second = Fixed(1.0), Fixed(1.0)
    CascadeSession(first, second, 0.05).infer(images(0, 255, 50))
    assert second.seen == []


def test_images_are_counted_across_threads() -> None:
    cascade = CascadeSession(Fixed(1.0), Fixed(1.0), 0.05)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: cascade.infer(images(100, 0)), range(200)))
    assert cascade.cascade == CascadeCounts(margin=0.05, images=400, near=200)


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_a_cascade_is_concurrent_if_both_sessions_are(
    first: bool, second: bool, together: bool
) -> None:
    cascade = CascadeSession(Fixed(1.0, first), Fixed(1.0, second), 0.05)
    assert cascade.spec.concurrent is together
    assert (cascade.spec.size, cascade.spec.batch) == (2, 4)


def test_a_session_without_a_cascade_decides_every_image() -> None:
    session = Fixed(1.0)
    found = session.run(images(100, 0))
    assert found.logits.shape == (2, 2)
    assert found.decided_by_fp32 is None
    assert session.primary is session
    assert session.cascade is None
    assert CascadeSession(session, Fixed(1.0), 0.05).primary is session
