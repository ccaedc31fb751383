"""The built-in harness: a small equivalent of LoadGen, one query after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import cycle, islice

from cxredge.bench.scenarios import HarnessRun, ScenarioRules
from cxredge.bench.workload import Workload
from cxredge.progress import Advance


def send_queries(
    workload: Workload, rules: ScenarioRules, seconds: float, queries: int, advance: Advance
) -> HarnessRun:
    """Send queries until both limits are reached; images are used in turn.

    Args:
        workload: Workload that answers the queries.
        rules: Rules of the scenario.
        seconds: Minimum wall time.
        queries: Minimum number of queries; in offline, of batches.
        advance: Called with the number of queries answered, outside of the timed code.
    """
    start = time.perf_counter()
    batches = _batches(len(workload), rules.samples, queries, start + seconds)
    if rules.percentile is None:
        queries_ms, end = _time_stream(workload, batches, start, advance)
    else:
        queries_ms, end = _time_queries(workload, batches, advance)
    return HarnessRun(queries_ms, len(queries_ms) * rules.samples, end - start)


def _batches(images: int, batch: int, queries: int, deadline: float) -> Iterator[list[int]]:
    """Yield indices of images until the number of queries and the deadline are reached."""
    indices = cycle(range(images))
    issued = 0
    while issued < queries or time.perf_counter() < deadline:
        issued += 1
        yield list(islice(indices, batch))


def _time_stream(
    workload: Workload, batches: Iterator[list[int]], start: float, advance: Advance
) -> tuple[list[float], float]:
    """Return the milliseconds between finished batches, and the time when the last one ended."""
    between_ms: list[float] = []
    previous = start
    for _ in workload.stream(batches):
        now = time.perf_counter()
        between_ms.append((now - previous) * 1000)
        previous = now
        advance(1)
    return between_ms, previous


def _time_queries(
    workload: Workload, batches: Iterator[list[int]], advance: Advance
) -> tuple[list[float], float]:
    """Return the latency of each query in milliseconds, and the time when the last one ended."""
    queries_ms: list[float] = []
    for batch in batches:
        began = time.perf_counter()
        workload.answer(batch)
        queries_ms.append((time.perf_counter() - began) * 1000)
        advance(1)
    return queries_ms, time.perf_counter()
