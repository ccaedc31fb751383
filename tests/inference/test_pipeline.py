"""Order, bounds, threads and stages of the pipeline, with a session that records its callers."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest

from cxredge.backends.base import Outputs, Session, SessionSpec
from cxredge.data.images import LoadedImage
from cxredge.errors import ImageError
from cxredge.inference.pipeline import GROUP_SIZE, IMAGES_AHEAD, infer_images, map_in_order

SIZE = 32


class Recorder(Session):
    """A session whose logits are an image's brightness, and that records its callers."""

    def __init__(self, concurrent: bool, batch: int) -> None:
        self.spec = SessionSpec(SIZE, 2, "test", 1, concurrent, batch)
        self.callers: set[int] = set()
        self.batches: list[int] = []
        self.inside = self.most_inside = 0
        self._lock = threading.Lock()

    def run(self, images: np.ndarray) -> Outputs:
        with self._lock:
            self.callers.add(threading.get_ident())
            self.batches.append(len(images))
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        time.sleep(0.002)
        with self._lock:
            self.inside -= 1
        mean = images.mean(axis=(1, 2), dtype=np.float32)
        return Outputs(np.stack([mean, -mean], axis=1))

    def close(self) -> None:
        pass


@pytest.fixture
def images(phantoms: Path) -> list[Path]:
    return sorted((phantoms / "images").rglob("*.*"))[:37]


def test_results_are_in_order_if_some_items_take_longer() -> None:
    def slow_at_random(number: int) -> int:
        time.sleep(random.Random(number).random() / 200)
        return number * number

    found = list(map_in_order(slow_at_random, iter(range(100)), 4, 7))
    assert found == [number * number for number in range(100)]


@pytest.mark.parametrize("ahead", [1, 5])
def test_items_are_consumed_only_as_far_ahead_as_allowed(ahead: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in count():
            taken = number + 1
            yield number

    results = map_in_order(lambda number: number, items(), 2, ahead)
    for got in islice(results, 50):
        assert taken == got + ahead + 1
    results.close()


def test_closing_waits_for_running_items_and_starts_no_others() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.01)
        return number

    results = map_in_order(work, count(), 2, 50)
    assert next(results) == 0
    results.close()
    at_closing = len(begun)
    time.sleep(0.05)
    assert len(begun) == at_closing < 50
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("ThreadPoolExecutor")]


def test_an_error_is_raised_in_its_turn() -> None:
    def fail_at_three(number: int) -> int:
        return 1 // (3 - number)

    results = map_in_order(fail_at_three, iter(range(10)), 3, 4)
    assert [next(results) for _ in range(3)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("batch", [1, 4, 16, 50])
@pytest.mark.parametrize("concurrent", [True, False])
def test_every_image_has_its_own_logits(
    concurrent: bool, batch: int, images: list[Path], tmp_path: Path
) -> None:
    missing = tmp_path / "gone.png"
    sources = [*images[:5], missing, *images[5:]]
    session = Recorder(concurrent, batch)
    found: list[tuple[Path, float | None]] = []
    for done in infer_images(session, iter(sources), 3):
        assert done.outputs is not None
        logits = iter(done.outputs.logits)
        for source, loaded in zip(done.sources, done.loaded, strict=True):
            if isinstance(loaded, ImageError):
                found.append((source, None))
                continue
            assert isinstance(loaded, LoadedImage)
            assert next(logits)[0] == pytest.approx(loaded.pixels.mean(dtype=np.float64))
            found.append((source, float(loaded.pixels.mean())))
        assert next(logits, None) is None
    assert [source for source, _ in found] == sources
    assert [source for source, mean in found if mean is None] == [missing]
    assert max(session.batches) == min(batch, len(images))


def test_a_session_of_one_thread_is_called_only_by_the_caller(images: list[Path]) -> None:
    session = Recorder(False, 4)
    assert sum(len(done.sources) for done in infer_images(session, iter(images), 4)) == 37
    assert session.callers == {threading.get_ident()}


def test_a_concurrent_session_is_called_by_all_workers_at_once(images: list[Path]) -> None:
    session = Recorder(True, 1)
    assert sum(len(done.sources) for done in infer_images(session, iter(images), 4)) == 37
    assert threading.get_ident() not in session.callers
    assert 1 < session.most_inside <= len(session.callers) <= 4


@pytest.mark.parametrize("concurrent", [True, False])
def test_images_ahead_are_bounded(concurrent: bool, images: list[Path]) -> None:
    taken = 0

    def sources() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield images[taken % len(images)]

    batches = infer_images(Recorder(concurrent, 8), sources(), 2)
    for done in islice(batches, 20):
        assert len(done.sources) == 8
    assert taken <= 20 * 8 + 2 * IMAGES_AHEAD + 8
    batches.close()


def test_seconds_are_reported_by_stage(images: list[Path]) -> None:
    (done,) = infer_images(Recorder(True, 50), iter(images), 2)
    assert list(done.seconds) == ["read", "decode", "preprocess", "infer"]
    assert min(done.seconds.values()) > 0
    assert done.seconds["infer"] > 0.002


def test_a_batch_without_a_readable_image_is_not_inferred(tmp_path: Path) -> None:
    session = Recorder(True, 4)
    gone = [tmp_path / f"{number}.png" for number in range(GROUP_SIZE + 2)]
    found = [done.loaded for done in infer_images(session, iter(gone), 2)]
    assert [len(loaded) for loaded in found] == [GROUP_SIZE, 2]
    assert session.batches == []


def test_images_that_failed_keep_nothing_of_their_bytes(tmp_path: Path) -> None:
    session = Recorder(True, 4)
    bad = [tmp_path / f"{number}.png" for number in range(3)]
    for path in bad:
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    (done,) = infer_images(session, iter(bad), 2)
    for problem in done.loaded:
        assert isinstance(problem, ImageError)
        assert problem.hint
        assert (problem.__traceback__, problem.__context__, problem.__cause__) == (None,) * 3


@pytest.mark.parametrize(("batch", "group"), [(1, 8), (3, 6), (8, 8), (16, 16)])
def test_a_worker_takes_whole_batches(batch: int, group: int, images: list[Path]) -> None:
    session = Recorder(True, batch)
    taken = [len(done.sources) for done in infer_images(session, iter(images[:34]), 2)]
    assert taken == [*[group] * (34 // group), *[34 % group] * (34 % group > 0)]
    rest = [34 % batch] if 34 % batch else []
    assert sorted(session.batches) == sorted([batch] * (34 // batch) + rest)


def test_failed_images_do_not_change_which_others_share_a_batch(
    images: list[Path], tmp_path: Path
) -> None:
    session = Recorder(True, 4)
    sources = [images[0], tmp_path / "gone.png", *images[1:8]]
    found = [done.outputs for done in infer_images(session, iter(sources), 1)]
    assert sum(len(one.logits) for one in found if one is not None) == 8
    assert session.batches == [3, 4, 1]
