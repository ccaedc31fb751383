"""LoadGen and the built-in harness: both measure the same."""

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
from tests.bench.fake_session import FakeSession, ignore_progress, images_of

# Four of five images take 2 ms, one takes 6: far enough apart to be distinguished from noise.
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
            return builtin.send_queries(workload, rules, seconds, queries, ignore_progress)
        return loadgen.send_queries(
            workload, scenario, rules, seconds, queries, ignore_progress, 2.0, tmp_path
        )


@pytest.mark.parametrize("scenario", list(Scenario))
def test_harnesses_agree_within_noise(scenario: Scenario, tmp_path: Path) -> None:
    pytest.importorskip("mlperf_loadgen", reason="needs the mlperf extra")
    ours = send("builtin", scenario, tmp_path, FakeSession())
    theirs = send("loadgen", scenario, tmp_path, FakeSession())
    assert theirs.loadgen is not None
    assert theirs.loadgen.min_duration_met
    # Other work on the machine delays some queries, but rarely all of them.
    fastest = [np.percentile(m.queries_ms, 5) for m in (ours, theirs)]
    assert fastest[1] == pytest.approx(fastest[0], rel=0.2)


def test_measured_latencies_match_the_report_of_loadgen(tmp_path: Path) -> None:
    pytest.importorskip("mlperf_loadgen", reason="needs the mlperf extra")
    found = send("loadgen", Scenario.SINGLE_STREAM, tmp_path, FakeSession(), queries=200)
    reported = found.loadgen
    assert reported is not None
    assert reported.valid, reported
    assert reported.queries == len(found.queries_ms) == found.samples
    measured = np.percentile(found.queries_ms, 90, method="higher")
    assert reported.percentile_ms == pytest.approx(measured, rel=0.1)
    estimate = early_stopping(found.queries_ms, 0.9)
    assert estimate is not None
    assert reported.early_stopping_ms == pytest.approx(estimate, rel=0.1)


def test_multi_stream_latency_of_loadgen_is_per_query(tmp_path: Path) -> None:
    pytest.importorskip("mlperf_loadgen", reason="needs the mlperf extra")
    found = send(
        "loadgen", Scenario.MULTI_STREAM, tmp_path, FakeSession(), 700, milliseconds=[1]
    )  # fmt: skip
    assert found.loadgen is not None
    assert found.samples == 8 * len(found.queries_ms)
    measured = np.percentile(found.queries_ms, 99, method="higher")
    assert found.loadgen.percentile_ms == pytest.approx(measured, rel=0.1)
    assert found.loadgen.early_stopping_ms >= found.loadgen.percentile_ms


def test_loadgen_reports_why_a_run_is_invalid(tmp_path: Path) -> None:
    pytest.importorskip("mlperf_loadgen", reason="needs the mlperf extra")
    found = send("loadgen", Scenario.MULTI_STREAM, tmp_path, FakeSession(), 5).loadgen
    assert found is not None
    assert not found.valid
    assert "Too few queries" in found.invalid_reason
    assert found.early_stopping_ms is None


@pytest.mark.parametrize("harness", HARNESSES)
@pytest.mark.parametrize("scenario", list(Scenario))
def test_queries_have_the_size_of_the_scenario_and_run_in_this_thread(
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
def test_minimum_duration_is_met(harness: str, scenario: Scenario, tmp_path: Path) -> None:
    found = send(harness, scenario, tmp_path, FakeSession(), queries=1, seconds=0.3)
    assert found.seconds >= 0.29


@pytest.mark.parametrize("harness", HARNESSES)
@pytest.mark.parametrize("scenario", list(Scenario))
@pytest.mark.parametrize("error", [CxredgeError("broken"), KeyboardInterrupt()], ids=repr)
def test_error_is_raised_unchanged(
    harness: str, scenario: Scenario, error: BaseException, tmp_path: Path
) -> None:
    session = FakeSession(fails_at=3, error=error)
    with pytest.raises(type(error)) as caught:
        send(harness, scenario, tmp_path, session, queries=50, seconds=0.1)
    assert caught.value is error
    assert len(session.batches) == 3, "inference continued after an error"


def test_missing_loadgen_names_the_extra_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(loadgen.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="not installed") as caught:
        send("loadgen", Scenario.SINGLE_STREAM, tmp_path, FakeSession())
    assert "cxredge[mlperf]" in caught.value.hint
    assert "--harness builtin" in caught.value.hint


@pytest.mark.parametrize("content", [None, "", ":::MLLOG {broken", ":::MLLOG {}"])
def test_incomplete_log_is_an_error(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "mlperf_log_detail.txt").write_text(content)
    with pytest.raises(CxredgeError, match="left no result"):
        loadgen.read_log(tmp_path, 90)
