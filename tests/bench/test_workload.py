import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxredge.bench import workload as module
from cxredge.bench.builtin import send_queries
from cxredge.bench.scenarios import RULES
from cxredge.bench.workload import Workload
from cxredge.errors import ImageError
from cxredge.vocabulary import Scenario
from tests.bench.fake_session import FakeSession, images_of, unheard


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{n}.png" for n in range(5)]
    for path in paths:
        Image.fromarray(np.full((640, 640), 1, np.uint8)).save(path)
    return paths


def test_memory_has_two_stages_and_files_five(files: list[Path]) -> None:
    with Workload(FakeSession(), images_of([1])) as workload:
        assert list(workload.stages) == ["compute", "post"]
    with Workload(FakeSession(), files) as workload:
        assert list(workload.stages) == ["read", "decode", "preprocess", "compute", "post"]
        assert len(workload) == 5


def test_stages_of_a_query_add_up_to_it(files: list[Path]) -> None:
    rules = RULES[Scenario.SINGLE_STREAM]
    with Workload(FakeSession(), files) as workload:
        measured = send_queries(workload, rules, 0, 20, unheard)
    assert {len(times) for times in workload.stages.values()} == {20}
    staged = np.sum(list(workload.stages.values()), axis=0)
    shares = staged / np.array(measured.queries_ms)
    assert shares.max() <= 1
    # Other work on the machine comes between the stages of some.
    assert shares.max() > 0.9
    assert np.median(workload.stages["compute"]) >= 1.0


def test_images_of_one_query_are_decoded_side_by_side_and_their_span_shared_out(
    files: list[Path],
) -> None:
    with Workload(FakeSession(), files) as workload:
        for _ in range(5):
            workload.answer([0, 1, 2, 3])
    spans = np.sum([workload.stages[name] for name in ("read", "decode", "preprocess")], axis=0)
    assert spans.shape == (5,)
    assert (spans > 0).all()


def test_time_of_threads_is_shared_out_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two images side by side from 0 to 10 s: the threads worked 16 s in 10 s of time."""
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
def test_stream_answers_every_batch_in_this_thread(from_files: bool, files: list[Path]) -> None:
    session = FakeSession()
    with Workload(session, files if from_files else images_of([0] * 5)) as workload:
        done = sum(1 for _ in workload.stream([[0, 1, 2], [3], [4, 0]]))
    assert done == 3
    assert session.batches == [3, 1, 2]
    assert session.threads == {threading.get_ident()}


@pytest.mark.parametrize("from_files", [True, False])
def test_stream_uses_all_cores_where_threads_may_share_the_session(
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


def test_stream_that_is_left_early_decodes_no_further(files: list[Path]) -> None:
    asked = 0

    def batches() -> object:
        nonlocal asked
        while True:
            asked += 1
            yield [0, 1]

    with Workload(FakeSession(), files) as workload:
        stream = workload.stream(batches())
        next(stream)
        stream.close()
    assert asked <= 4


def test_a_file_that_vanishes_is_an_error_and_no_fast_query(files: list[Path]) -> None:
    with Workload(FakeSession(), files) as workload:
        files[2].unlink()
        with pytest.raises(ImageError, match="does not exist"):
            workload.answer([0, 1, 2])
        with pytest.raises(ImageError, match="does not exist"):
            list(workload.stream([[0], [2]]))


def test_forgetting_keeps_the_stages(files: list[Path]) -> None:
    with Workload(FakeSession(), files) as workload:
        workload.answer([0])
        workload.forget()
        assert set(map(len, workload.stages.values())) == {0}
        workload.answer([0])
        assert set(map(len, workload.stages.values())) == {1}
