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
        workload: Answers the queries.
        rules: Rules of the scenario.
        seconds: Minimum wall time.
        queries: Minimum number of queries; in offline, of batches.
        advance: Called with the number of queries answered, outside of the timed code.
    """
    taken: list[float] = []
    start = time.perf_counter()

    def batches() -> Iterator[list[int]]:
        indices = cycle(range(len(workload)))
        issued = 0
        while issued < queries or time.perf_counter() - start < seconds:
            issued += 1
            yield list(islice(indices, rules.samples))

    if rules.percentile is None:
        previous = start
        for _ in workload.stream(batches()):
            now = time.perf_counter()
            taken.append((now - previous) * 1000)
            previous = now
            advance(1)
        return HarnessRun(taken, len(taken) * rules.samples, previous - start)
    for batch in batches():
        began = time.perf_counter()
        workload.answer(batch)
        taken.append((time.perf_counter() - began) * 1000)
        advance(1)
    return HarnessRun(taken, len(taken) * rules.samples, time.perf_counter() - start)
