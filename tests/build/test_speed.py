"""The search for a runtime's best settings, with sessions whose time is known."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxredge.backends.base import Outputs, Session, SessionSpec
from cxredge.build import speed
from cxredge.build.speed import Variant, measure_speeds
from cxredge.bundle.serving import RuntimeSettings as Settings
from cxredge.data.images import load_grey
from cxredge.metrics import latency
from cxredge.progress import Advance, Silent
from cxredge.vocabulary import Precision

IMAGE = np.zeros((1, 8, 8), np.uint8)
FEW, MANY = (Variant(name, Precision.FP32, Path(name)) for name in ("onnxruntime", "openvino"))


class Clock(threading.local):
    """A time of its own for each thread, which only inferences and decoding advance."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def perf_counter_ns(self) -> int:
        return round(self.now * 1e9)


CLOCK = Clock()


class Paced(Session):
    """Takes a time that its settings tell; one inference at a time, or several side by side."""

    callers = 1

    def __init__(self, seconds: float, lanes: int) -> None:
        self.spec = SessionSpec(8, 2, "fake", threads=1, concurrent=True)
        self._seconds, self._lanes = seconds, lanes

    def run(self, images: np.ndarray) -> Outputs:
        CLOCK.now += self._seconds * max(1, self.callers / self._lanes)
        return Outputs(np.zeros((len(images), 2), np.float32))

    def close(self) -> None:
        return None


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """One runtime is best with two threads and serves one at a time, the other several."""

    def open_session(
        path: Path, backend: str, threads: int, precision: Precision, batch: int
    ) -> Paced:
        if backend == "onnxruntime":
            return Paced({1: 0.012, 2: 0.001, 4: 0.003}[threads], lanes=1)
        return Paced({1: 0.003, 2: 0.003, 4: 0.001}[threads], lanes=4 // threads)

    def rate(step: partial[int], callers: int, *more: Any) -> float:
        step.args[0].callers = callers
        return measured_rate(step, callers, *more)

    measured_rate = speed._rate
    monkeypatch.setattr(speed, "_rate", rate)
    monkeypatch.setattr(speed, "open_session", open_session)
    monkeypatch.setattr(speed, "available_cores", lambda: 4)
    monkeypatch.setattr(speed, "RATE_S", 0.03)
    monkeypatch.setattr(speed, "_FILE_RATE_S", 0.03)
    monkeypatch.setattr(speed, "load_grey", lambda path, size: np.zeros((size, size), np.uint8))
    for module in (speed, latency):
        monkeypatch.setattr(module, "time", CLOCK)


def test_each_has_its_best_threads_for_one_image(four_cores: None) -> None:
    found = measure_speeds((FEW, MANY), IMAGE, Silent())
    assert found[FEW].threads == 2
    assert found[MANY].threads == 4
    assert found[FEW].latency.p50 == pytest.approx(1)


def test_each_has_its_best_way_for_many_images(four_cores: None) -> None:
    found = measure_speeds((FEW, MANY), IMAGE, Silent())
    few, many = found[FEW].throughput, found[MANY].throughput
    assert few is not None
    assert many is not None
    # A batch takes no longer than an image here, so the largest one is the best.
    assert few.settings == Settings(4, 1, 4)
    assert many.settings == Settings(1, 4, 4)
    assert many.images_per_second == pytest.approx(4 * 4 / 0.003)


def test_all_cores_for_one_inference_have_to_be_clearly_faster() -> None:
    rates = {(MANY, Settings(1, 4, 4)): 100.0, (MANY, Settings(4, 1, 16)): 119.0}
    assert speed._best_for_files(rates, 4)[1] == Settings(1, 4, 4)
    assert speed._best_for_files({**rates, (MANY, Settings(4, 1, 1)): 121.0}, 4)[1] == Settings(
        4, 1, 1
    )


def test_a_smaller_batch_that_is_nearly_as_fast_is_taken() -> None:
    rates = {
        (MANY, Settings(1, 4, 1)): 94.0,
        (MANY, Settings(1, 4, 8)): 96.0,
        (MANY, Settings(1, 4, 16)): 100.0,
    }
    assert speed._best_for_files(rates, 4)[1].batch == 8
    assert speed._best_for_files({**rates, (MANY, Settings(1, 4, 1)): 95.0}, 4)[1].batch == 1


def test_settings_for_many_are_found_on_files_and_their_rate_in_memory(
    four_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []

    def load(path: Path, size: int) -> np.ndarray:
        decoded.append(path)
        CLOCK.now += 0.002
        return load_grey(path, size)

    monkeypatch.setattr(speed, "load_grey", load)
    found = measure_speeds((MANY,), IMAGE, Silent())[MANY].throughput
    assert found is not None
    assert decoded
    assert len(set(decoded)) == 1
    assert not decoded[0].exists()
    assert found.settings == Settings(1, 4, 4)
    assert found.images_per_second == pytest.approx(4 * 4 / 0.003), "more than files allow"


def test_a_slow_network_is_not_timed_in_large_batches(
    four_cores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "_MAX_BATCH_S", 0.001)
    found = measure_speeds((FEW,), IMAGE, Silent())[FEW].throughput
    assert found is not None
    assert found.settings.batch == 1


def test_on_a_gpu_there_are_no_threads_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "open_session", lambda *_: Paced(0.0, 1))
    engine = Variant("tensorrt", Precision.FP16, Path("model-fp16.plan"))
    found = measure_speeds((engine,), IMAGE, Silent())[engine]
    assert found.latency.count >= 10
    assert (found.threads, found.throughput) == (0, None)


def test_progress_reaches_its_total(four_cores: None) -> None:
    class Heard(Silent):
        total, done = 0, 0

        @contextmanager
        def task(self, description: str, total: int | None) -> Iterator[Advance]:
            self.total = total or 0

            def advance(count: int) -> None:
                self.done += count

            yield advance

    heard = Heard()
    measure_speeds((FEW, MANY), IMAGE, heard)
    assert heard.done == heard.total == 6
