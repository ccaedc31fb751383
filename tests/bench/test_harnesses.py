"""LoadGen and the built-in harness measure the same things in the same way."""

import threading
from pathlib import Path

import numpy as np
import pytest

from cxredge.bench import builtin, loadgen
from cxredge.bench.scenarios import RULES, HarnessRun
from cxredge.bench.workload import Workload
from cxredge.errors import CxredgeError, DependencyError
from cxredge.metrics.latency import early_stopping
from cxredge.vocabulary import Scenario
from tests.bench.fake_session import FakeSession, images_of, unheard

# Four of five images take 2 ms, one takes 6: far apart, so that noise does not mix them up.
MILLISECONDS = [2, 2, 6, 2, 2]
HARNESSES = ["builtin", pytest.param("loadgen", marks=pytest.mark.skipif(
    not loadgen.is_installed(), reason="needs the mlperf extra"
))]  # fmt: skip


def send(
    harness: str,
    scenario: Scenario,
    tmp_path: Path,
    session: FakeSession,
    queries: int = 100,
    seconds: float = 0.0,
    milliseconds: list[int] = MILLISECONDS,
) -> HarnessRun:
    rules = RULES[scenario]
    with Workload(session, images_of(milliseconds)) as workload:
        if harness == "builtin":
            return builtin.send_queries(workload, rules, seconds, queries, unheard)
        return loadgen.send_queries(
            workload, scenario, rules, seconds, queries, unheard, 2.0, tmp_path
        )


@pytest.mark.parametrize("scenario", list(Scenario))
def test_both_agree_within_the_noise(scenario: Scenario, tmp_path: Path) -> None:
    pytest.importorskip("mlperf_loadgen", reason="needs the mlperf extra")
    ours = send("builtin", scenario, tmp_path, FakeSession())
    theirs = send("loadgen", scenario, tmp_path, FakeSession())
    assert theirs.loadgen is not None
    assert theirs.loadgen.min_duration_met
    # Other work on the machine lengthens some queries, and seldom all of them.
    quickest = [np.percentile(m.queries_ms, 5) for m in (ours, theirs)]
    assert quickest[1] == pytest.approx(quickest[0], rel=0.2)


def test_what_is_timed_inside_is_what_loadgen_reports(tmp_path: Path) -> None:
    pytest.importorskip("mlperf_loadgen", reason="needs the mlperf extra")
    found = send("loadgen", Scenario.SINGLE_STREAM, tmp_path, FakeSession(), queries=200)
    reported = found.loadgen
    assert reported is not None
    assert reported.valid, reported
    assert reported.queries == len(found.queries_ms) == found.samples
    inside = np.percentile(found.queries_ms, 90, method="higher")
    assert reported.percentile_ms == pytest.approx(inside, rel=0.1)
    estimate = early_stopping(found.queries_ms, 0.9)
    assert estimate is not None
    assert reported.early_stopping_ms == pytest.approx(estimate, rel=0.1)


def test_loadgens_multi_stream_is_by_query(tmp_path: Path) -> None:
    pytest.importorskip("mlperf_loadgen", reason="needs the mlperf extra")
    found = send(
        "loadgen", Scenario.MULTI_STREAM, tmp_path, FakeSession(), 700, milliseconds=[1]
    )  # fmt: skip
    assert found.loadgen is not None
    assert found.samples == 8 * len(found.queries_ms)
    inside = np.percentile(found.queries_ms, 99, method="higher")
    assert found.loadgen.percentile_ms == pytest.approx(inside, rel=0.1)
    assert found.loadgen.early_stopping_ms >= found.loadgen.percentile_ms


def test_loadgen_says_what_it_misses(tmp_path: Path) -> None:
    pytest.importorskip("mlperf_loadgen", reason="needs the mlperf extra")
    found = send("loadgen", Scenario.MULTI_STREAM, tmp_path, FakeSession(), 5).loadgen
    assert found is not None
    assert not found.valid
    assert "Too few queries" in found.invalid_reason
    assert found.early_stopping_ms is None


@pytest.mark.parametrize("harness", HARNESSES)
@pytest.mark.parametrize("scenario", list(Scenario))
def test_queries_have_the_scenarios_size_and_come_from_this_thread(
    harness: str, scenario: Scenario, tmp_path: Path
) -> None:
    session = FakeSession()
    found = send(harness, scenario, tmp_path, session, queries=10)
    assert set(session.batches) == {RULES[scenario].samples}
    assert session.threads == {threading.get_ident()}
    assert len(found.queries_ms) >= 10
    assert found.samples == sum(session.batches)
    assert found.seconds >= sum(found.queries_ms) / 1000 * 0.99


@pytest.mark.parametrize("harness", HARNESSES)
@pytest.mark.parametrize("scenario", list(Scenario))
def test_the_least_time_is_kept(harness: str, scenario: Scenario, tmp_path: Path) -> None:
    found = send(harness, scenario, tmp_path, FakeSession(), queries=1, seconds=0.3)
    assert found.seconds >= 0.29


@pytest.mark.parametrize("harness", HARNESSES)
@pytest.mark.parametrize("scenario", list(Scenario))
@pytest.mark.parametrize("error", [CxredgeError("broken"), KeyboardInterrupt()], ids=repr)
def test_an_error_comes_out_as_it_went_in(
    harness: str, scenario: Scenario, error: BaseException, tmp_path: Path
) -> None:
    session = FakeSession(fails_at=3, error=error)
    with pytest.raises(type(error)) as caught:
        send(harness, scenario, tmp_path, session, queries=50, seconds=0.1)
    assert caught.value is error
    assert len(session.batches) == 3, "after an error nothing is inferred"


def test_without_loadgen_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loadgen.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="not installed") as caught:
        send("loadgen", Scenario.SINGLE_STREAM, tmp_path, FakeSession())
    assert "cxredge[mlperf]" in caught.value.hint
    assert "--harness builtin" in caught.value.hint


@pytest.mark.parametrize("content", [None, "", ":::MLLOG {broken", ":::MLLOG {}"])
def test_a_log_that_is_not_whole_is_an_error(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "mlperf_log_detail.txt").write_text(content)
    with pytest.raises(CxredgeError, match="left no result"):
        loadgen.read_log(tmp_path, 90)
