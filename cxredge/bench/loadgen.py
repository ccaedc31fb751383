"""The same queries sent by MLPerf's own LoadGen (extra ``mlperf``)."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from cxredge.bench.scenarios import Measured, Rules
from cxredge.bench.workload import Workload
from cxredge.errors import CxredgeError, DependencyError
from cxredge.vocabulary import Scenario

_NAMES = {
    Scenario.SINGLE_STREAM: "SingleStream",
    Scenario.MULTI_STREAM: "MultiStream",
    Scenario.OFFLINE: "Offline",
}
_PREFIX = ":::MLLOG "
# LoadGen draws up all queries beforehand, and ends early and invalid when it runs out of them.
_FASTER_THAN_EXPECTED = 3.0


def is_installed() -> bool:
    """Tell whether LoadGen can be imported."""
    return importlib.util.find_spec("mlperf_loadgen") is not None


def send_queries(
    workload: Workload,
    scenario: Scenario,
    rules: Rules,
    seconds: float,
    queries: int,
    advance: Callable[[int], None],
    expected_ms: float,
    logs: Path,
) -> Measured:
    """Let LoadGen send queries until both limits are reached; it draws the images at random.

    Args:
        workload: Answers them, in this thread.
        scenario: How they arrive.
        rules: Of the scenario.
        seconds: Least wall time.
        queries: Least number of queries; in offline, of batches.
        advance: Hears of queries answered, outside of what is timed.
        expected_ms: How long a query, in offline a batch, took while warming up.
        logs: An existing folder for LoadGen's own files.

    Raises:
        DependencyError: LoadGen is not installed.
        CxredgeError: LoadGen did not finish; whatever answering a query raised is raised again.
    """
    if not is_installed():
        raise DependencyError(
            "LoadGen is not installed.",
            "pip install 'cxredge[mlperf]' (there are packages for x86-64), or use "
            "--harness builtin.",
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
    return Measured(
        system.queries_ms, answered, system.last - system.first, read_log(logs, rules.percentile)
    )


def read_log(logs: Path, percentile: int | None) -> dict[str, Any]:
    """Return what LoadGen says of its run, from its detailed log.

    Args:
        logs: Its folder.
        percentile: The one that counts in the scenario, if any.

    Raises:
        CxredgeError: The log is not there or not complete.
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
    return {
        "version": str(found.get("loadgen_version", "")).split(" ")[0],
        "valid": valid,
        "invalid_reason": _why_invalid(found),
        "queries": found.get("result_query_count"),
        "percentile_ms": _ms(latency) if percentile else None,
        "early_stopping_ms": _ms(estimate) if percentile else None,
        "samples_per_second": found.get("result_samples_per_second"),
        "min_duration_met": found.get("result_min_duration_met"),
        "early_stopping_met": found.get("early_stopping_met"),
    }


def _why_invalid(found: Mapping[str, Any]) -> str:
    reason = str(found.get("result_invalid_reason", "")).strip()
    if found.get("early_stopping_met") is False:
        reason += " Too few queries for the early-stopping estimate."
    return reason.strip()


class _System:
    """LoadGen's system under test and its library of samples.

    Errors must not pass through LoadGen, which is C++: the first is kept, and what is left of the
    queries is answered without work so that LoadGen comes to its end.
    """

    def __init__(
        self, workload: Workload, rules: Rules, advance: Callable[[int], None], loadgen: Any
    ) -> None:
        self._workload, self._rules, self._advance = workload, rules, advance
        self._loadgen = loadgen
        self.queries_ms: list[float] = []
        self.sizes: list[int] = []
        self.first = self.last = 0.0
        self.error: BaseException | None = None

    def answer(self, samples: Sequence[Any]) -> None:
        """Answer a query of LoadGen's."""
        if self.error is not None:
            self._complete(samples)
        elif self._rules.percentile is None:
            self._answer_stream(list(samples))
        else:
            self._answer_one(samples)

    def flush(self) -> None:
        """Do nothing: no query is held back."""

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
    """Return milliseconds; LoadGen writes 0 for what it cannot estimate."""
    return nanoseconds / 1e6 if nanoseconds else None
