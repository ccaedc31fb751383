"""Workload: stages of a query, images from files and from memory, streams."""

import threading
from pathlib import Path

import numpy as np
import pytest

from cxredge.bench import workload as module
from cxredge.bench.builtin import send_queries
from cxredge.bench.scenarios import RULES
from cxredge.bench.workload import Workload
from cxredge.errors import ImageError
from cxredge.vocabulary import Scenario
from tests.bench.fake_session import FakeSession, ignore_progress, images_of
from tests.data.image_files import graded


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{n}.png" for n in range(5)]
    for path in paths:
        graded(1, 640).save(path)
    return paths


def test_two_stages_from_memory_and_five_from_files(files: list[Path]) -> None:
    with Workload(FakeSession(), images_of([1])) as workload:
        assert list(workload.stages) == ["compute", "post"]
    with Workload(FakeSession(), files) as workload:
        assert list(workload.stages) == ["read", "decode", "preprocess", "compute", "post"]
        assert len(workload) == 5


def test_stages_add_up_to_the_query(files: list[Path]) -> None:
    rules = RULES[Scenario.SINGLE_STREAM]
    with Workload(FakeSession(), files) as workload:
        measured = send_queries(workload, rules, 0, 20, ignore_progress)
    assert {len(times) for times in workload.stages.values()} == {20}
    stages_ms = np.sum(list(workload.stages.values()), axis=0)
    shares = stages_ms / np.array(measured.queries_ms)
    assert shares.max() <= 1
    # Other work on the machine may run between the stages of some queries.
    assert shares.max() > 0.9
    assert np.median(workload.stages["compute"]) >= 1.0


def test_images_of_a_query_are_decoded_in_parallel(
    files: list[Path],
) -> None:
    with Workload(FakeSession(), files) as workload:
        for _ in range(5):
            workload.answer([0, 1, 2, 3])
    spans = np.sum([workload.stages[name] for name in ("read", "decode", "preprocess")], axis=0)
    assert spans.shape == (5,)
    assert (spans > 0).all()


def test_wall_time_is_split_in_proportion_to_thread_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two images in parallel from 0 to 10 s: 16 s of thread time in 10 s of wall time."""
    pixels = images_of([0])[0]
    loaded = [
        module._Loaded(pixels, 0.0, [("read", 1.0), ("decode", 9.0), ("preprocess", 10.0)]),
        module._Loaded(pixels, 4.0, [("read", 5.0), ("decode", 9.0), ("preprocess", 10.0)]),
    ]
    with Workload(FakeSession(), [Path("a.png")]) as workload:
        workload._note_loading(loaded)
    assert workload.stages["read"] == [pytest.approx(2 / 16 * 10_000)]
    assert workload.stages["decode"] == [pytest.approx(12 / 16 * 10_000)]
    assert workload.stages["preprocess"] == [pytest.approx(2 / 16 * 10_000)]


@pytest.mark.parametrize("from_files", [True, False])
def test_stream_runs_every_batch_in_this_thread(from_files: bool, files: list[Path]) -> None:
    session = FakeSession()
    with Workload(session, files if from_files else images_of([0] * 5)) as workload:
        done = sum(1 for _ in workload.stream([[0, 1, 2], [3], [4, 0]]))
    assert done == 3
    assert session.batches == [3, 1, 2]
    assert session.threads == {threading.get_ident()}


@pytest.mark.parametrize("from_files", [True, False])
def test_stream_uses_all_cores_if_the_session_is_concurrent(
    from_files: bool, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "available_cores", lambda: 4)
    session = FakeSession(concurrent=True)
    samples = files if from_files else images_of([20] * 5)
    with Workload(session, samples) as workload:
        done = sum(1 for _ in workload.stream([[0, 1], [2], [3], [4]]))
        assert done == 4
        assert {len(times) for times in workload.stages.values()} == {4}
    assert len(session.threads) == 2
    assert threading.get_ident() not in session.threads


def test_closed_stream_stops_decoding(files: list[Path]) -> None:
    requested = 0

    def batches() -> object:
        nonlocal requested
        while True:
            requested += 1
            yield [0, 1]

    with Workload(FakeSession(), files) as workload:
        stream = workload.stream(batches())
        next(stream)
        stream.close()
    assert requested <= 4


def test_missing_file_is_an_error_instead_of_a_fast_query(files: list[Path]) -> None:
    with Workload(FakeSession(), files) as workload:
        files[2].unlink()
        with pytest.raises(ImageError, match="does not exist"):
            workload.answer([0, 1, 2])
        with pytest.raises(ImageError, match="does not exist"):
            list(workload.stream([[0], [2]]))


def test_forget_clears_times_but_keeps_stages(files: list[Path]) -> None:
    with Workload(FakeSession(), files) as workload:
        workload.answer([0])
        workload.forget()
        assert set(map(len, workload.stages.values())) == {0}
        workload.answer([0])
        assert set(map(len, workload.stages.values())) == {1}
