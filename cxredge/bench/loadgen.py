"""The harness of MLPerf, LoadGen (extra ``mlperf``)."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from cxredge.bench.scenarios import HarnessRun, ScenarioRules
from cxredge.bench.workload import Workload
from cxredge.errors import CxredgeError, DependencyError
from cxredge.progress import Advance
from cxredge.results.bench import LoadGenReport
from cxredge.vocabulary import Scenario

_NAMES = {
    Scenario.SINGLE_STREAM: "SingleStream",
    Scenario.MULTI_STREAM: "MultiStream",
    Scenario.OFFLINE: "Offline",
}
_PREFIX = ":::MLLOG "
# LoadGen prepares all queries in advance; if it runs out of them, it ends early and invalid.
_FASTER_THAN_EXPECTED = 3.0


def is_installed() -> bool:
    """Return whether LoadGen can be imported."""
    return importlib.util.find_spec("mlperf_loadgen") is not None


def send_queries(
    workload: Workload,
    scenario: Scenario,
    rules: ScenarioRules,
    seconds: float,
    queries: int,
    advance: Advance,
    expected_ms: float,
    logs: Path,
) -> HarnessRun:
    """Let LoadGen send queries until both limits are reached; it draws the images at random.

    Args:
        workload: Answers the queries, in this thread.
        scenario: Arrival of the queries.
        rules: Rules of the scenario.
        seconds: Minimum wall time.
        queries: Minimum number of queries; in offline, of batches.
        advance: Called with the number of queries answered, outside of the timed code.
        expected_ms: Latency of a query, in offline of a batch, during the warm-up.
        logs: An existing folder for LoadGen's own files.

    Raises:
        DependencyError: LoadGen is not installed.
        CxredgeError: LoadGen did not finish. An error while answering a query is raised again.
    """
    if not is_installed():
        raise DependencyError(
            "LoadGen is not installed.",
            "pip install 'cxredge[mlperf]' (packages exist for x86-64), or use --harness builtin.",
        )
    import mlperf_loadgen as loadgen

    system = _System(workload, rules, advance, loadgen)
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, _NAMES[scenario])
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = round(seconds * 1000)
    settings.min_query_count = queries
    settings.multi_stream_samples_per_query = rules.samples
    expected_ns = 1e6 * expected_ms / _FASTER_THAN_EXPECTED
    settings.single_stream_expected_latency_ns = round(expected_ns)
    settings.multi_stream_expected_latency_ns = round(expected_ns)
    if scenario is Scenario.OFFLINE:
        settings.min_query_count = queries * rules.samples
        settings.offline_expected_qps = 1.1 * 1000 * rules.samples / expected_ms
    under_test = loadgen.ConstructSUT(system.answer, system.flush)
    library = loadgen.ConstructQSL(len(workload), len(workload), system.load, system.unload)
    try:
        loadgen.StartTestWithLogSettings(
            under_test, library, settings, _log_settings(loadgen, logs), str(logs / "audit.config")
        )
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(under_test)
    if system.error is not None:
        raise system.error
    answered = sum(system.sizes)
    return HarnessRun(
        system.queries_ms, answered, system.last - system.first, read_log(logs, rules.percentile)
    )


def read_log(logs: Path, percentile: int | None) -> LoadGenReport:
    """Read LoadGen's report of its run from its detailed log.

    Args:
        logs: The folder of its files.
        percentile: Percentile that counts in the scenario, if any.

    Raises:
        CxredgeError: The log is missing or incomplete.
    """
    found: dict[str, Any] = {}
    try:
        for line in (logs / "mlperf_log_detail.txt").read_text(errors="replace").splitlines():
            if line.startswith(_PREFIX):
                record = json.loads(line.removeprefix(_PREFIX))
                found[record["key"]] = record["value"]
        valid = found["result_validity"] == "VALID"
    except (OSError, ValueError, KeyError) as error:
        raise CxredgeError(
            f"LoadGen left no result in {logs}: {error}.", "Use --harness builtin."
        ) from None
    latency = found.get(f"result_{percentile}.00_percentile_per_query_latency_ns") or found.get(
        f"result_{percentile}.00_percentile_latency_ns"
    )
    # Its names are those of the scenarios, single-stream's 90th and multi-stream's 99th percentile.
    estimate = found.get(f"early_stopping_latency_{'ss' if percentile == 90 else 'ms'}")
    return LoadGenReport(
        version=str(found.get("loadgen_version", "")).split(" ")[0],
        valid=valid,
        invalid_reason=_why_invalid(found),
        queries=found.get("result_query_count"),
        percentile_ms=_ms(latency) if percentile else None,
        early_stopping_ms=_ms(estimate) if percentile else None,
        samples_per_second=found.get("result_samples_per_second"),
        min_duration_met=found.get("result_min_duration_met"),
        early_stopping_met=found.get("early_stopping_met"),
    )


def _why_invalid(found: Mapping[str, Any]) -> str:
    reason = str(found.get("result_invalid_reason", "")).strip()
    if found.get("early_stopping_met") is False:
        reason += " Too few queries for the early-stopping estimate."
    return reason.strip()


class _System:
    """LoadGen's system under test and its library of samples.

    Exceptions must not pass through LoadGen, which is C++: the first one is kept, and the remaining
    queries are completed without inference, so that LoadGen ends.
    """

    def __init__(
        self, workload: Workload, rules: ScenarioRules, advance: Advance, loadgen: Any
    ) -> None:
        self._workload, self._rules, self._advance = workload, rules, advance
        self._loadgen = loadgen
        self.queries_ms: list[float] = []
        self.sizes: list[int] = []
        self.first = self.last = 0.0
        self.error: BaseException | None = None

    def answer(self, samples: Sequence[Any]) -> None:
        """Answer a query of LoadGen."""
        if self.error is not None:
            self._complete(samples)
        elif self._rules.percentile is None:
            self._answer_stream(list(samples))
        else:
            self._answer_one(samples)

    def flush(self) -> None:
        """Do nothing: no query is delayed."""

    def load(self, indices: Sequence[int]) -> None:
        """Do nothing: pixels are in memory already, and reading files is part of the query."""

    def unload(self, indices: Sequence[int]) -> None:
        """Do nothing: nothing was loaded."""

    def _answer_one(self, samples: Sequence[Any]) -> None:
        began = time.perf_counter()
        try:
            self._workload.answer([sample.index for sample in samples])
        except BaseException as error:
            self.error = error
        self._complete(samples)
        self._note(began, len(samples))

    def _answer_stream(self, samples: Sequence[Any]) -> None:
        groups = list(_groups(samples, self._rules.samples))
        batches = ([sample.index for sample in group] for group in groups)
        done = 0
        began = time.perf_counter()
        try:
            for group, _ in zip(groups, self._workload.stream(batches), strict=True):
                self._complete(group)
                done += 1
                self._note(began, len(group))
                began = time.perf_counter()
        except BaseException as error:
            self.error = error
            for group in groups[done:]:
                self._complete(group)

    def _complete(self, samples: Sequence[Any]) -> None:
        response = self._loadgen.QuerySampleResponse
        self._loadgen.QuerySamplesComplete([response(sample.id, 0, 0) for sample in samples])

    def _note(self, began: float, size: int) -> None:
        self.last = time.perf_counter()
        self.first = self.first or began
        self.queries_ms.append((self.last - began) * 1000)
        self.sizes.append(size)
        if self.error is None:
            self._advance(1)


def _groups(samples: Sequence[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(samples)
    while group := list(islice(rest, size)):
        yield group


def _log_settings(loadgen: Any, logs: Path) -> Any:
    output = loadgen.LogOutputSettings()
    output.outdir = str(logs)
    output.copy_summary_to_stdout = False
    output.copy_detail_to_stdout = False
    settings = loadgen.LogSettings()
    settings.log_output = output
    settings.enable_trace = False
    return settings


def _ms(nanoseconds: float | None) -> float | None:
    """Return milliseconds; LoadGen writes 0 where it has no estimate."""
    return nanoseconds / 1e6 if nanoseconds else None
