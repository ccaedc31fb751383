"""A small equivalent of LoadGen: the next query when the last one is answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice

from cxredge.bench.scenarios import Measured, Rules
from cxredge.bench.workload import Workload


def send_queries(
    workload: Workload,
    rules: Rules,
    seconds: float,
    queries: int,
    advance: Callable[[int], None],
) -> Measured:
    """Send queries until both limits are reached; the images take turns.

    Args:
        workload: Answers them.
        rules: Of the scenario.
        seconds: Least wall time.
        queries: Least number of queries; in offline, of batches.
        advance: Hears of queries answered, outside of what is timed.
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
        return Measured(taken, len(taken) * rules.samples, previous - start)
    for batch in batches():
        began = time.perf_counter()
        workload.answer(batch)
        taken.append((time.perf_counter() - began) * 1000)
        advance(1)
    return Measured(taken, len(taken) * rules.samples, time.perf_counter() - start)
