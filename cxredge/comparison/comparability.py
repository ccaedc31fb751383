"""Whether measured latencies can be compared, and the reasons why not.

Works on results from files, so that results of other devices and other days can be judged too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from cxredge.results.bench import BenchResult, Comparability
from cxredge.telemetry.linux import Machine

MAX_CV = 0.10
MAX_DRIFT = 0.10
MAX_CLOCK_DIFFERENCE = 0.05
_MAX_LOAD_OF_OTHERS = 0.25


def judge(result: BenchResult, more: Sequence[str] = ()) -> Comparability:
    """Return whether one result can be compared with others; its own verdict is ignored.

    Args:
        result: The result.
        more: Reasons against it that are known already.
    """
    return Comparability.given([*more, *_sample_reasons(result), *_state_reasons(result)])


def comparable(
    first: BenchResult, second: BenchResult, across: Collection[str] = ()
) -> Comparability:
    """Return whether the latencies of two results can be compared with each other.

    Precision, network and backend may differ: results exist to compare them. The verdict of each
    result counts for the pair.

    Args:
        first: A result.
        second: Another one.
        across: Names in ``ASPECTS`` that may differ; for example ``machine`` and ``target`` to
            compare devices.
    """
    own = [
        f"{which}: {reason}"
        for which, result in (("the first", first), ("the second", second))
        for reason in result.verdict.reasons
    ]
    return Comparability.given([*differences_between(first, second, across), *own])


def differences_between(
    first: BenchResult, second: BenchResult, across: Collection[str] = ()
) -> list[str]:
    """Return the reasons of :func:`comparable` that concern the pair, not each result alone."""
    reasons = [
        f"{words}: {_plain(a)} and {_plain(b)}"
        for name, (words, read) in ASPECTS.items()
        if name not in across and (a := read(first)) != (b := read(second))
    ]
    if "clock" not in across and (clocks := _clock_difference(first, second)):
        reasons.append(clocks)
    return reasons


def machine_difference(first: Machine, second: Machine) -> list[str]:
    """Return the reason against comparing two machines, if they differ."""
    a, b = _machine(first), _machine(second)
    return [] if a == b else [f"{_MACHINES_DIFFER}: {_plain(a)} and {_plain(b)}"]


def _machine(machine: Machine) -> tuple[str | None, int]:
    return (machine.cpu, machine.cores)


def _power_mode(result: BenchResult) -> str | None:
    mode = result.jetson.before.power_mode if result.jetson else None
    return mode.name if mode else None


def _gpu_clock_mhz(result: BenchResult) -> float | None:
    clock = result.jetson.before.gpu_clock if result.jetson else None
    return clock.current_mhz if clock else None


_MACHINES_DIFFER = "the machines differ"

ASPECTS: Mapping[str, tuple[str, Callable[[BenchResult], Any]]] = {
    "scenario": ("the scenarios differ", lambda result: result.scenario.value),
    "timed": ("different stages were timed", lambda result: result.timed),
    "samples_per_query": ("images per query differ", lambda result: result.samples_per_query),
    "preprocessing": ("the preprocessing differs", lambda result: result.preprocessing),
    "input_size": ("the input sizes differ", lambda result: result.input_size),
    "harness": ("the harnesses differ", lambda result: result.harness),
    "machine": (_MACHINES_DIFFER, lambda result: _machine(result.machine)),
    "target": ("the targets differ", lambda result: result.target),
    "threads": ("the numbers of threads differ", lambda result: result.threads),
    "governor": ("the clock governors differ", lambda result: result.state.before.governor),
    "power_mode": ("the power modes differ", _power_mode),
    "gpu_clock": ("the GPU clocks differ", _gpu_clock_mhz),
}
"""Aspects that must be equal, with the words for a difference; also ``clock``, within 5%."""


def _clock_difference(first: BenchResult, second: BenchResult) -> str | None:
    a, b = first.state.during.frequency_mhz, second.state.during.frequency_mhz
    if not a or not b or not a.mean or not b.mean:
        return None
    if abs(a.mean / b.mean - 1) <= MAX_CLOCK_DIFFERENCE:
        return None
    return f"the processors ran at different clocks: {a.mean:.0f} and {b.mean:.0f} MHz"


def _plain(value: Any) -> str:
    if value is None:
        return "unknown"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _sample_reasons(result: BenchResult) -> list[str]:
    latency, needed = result.latency_ms, result.queries.needed
    reasons = []
    if latency.count < needed:
        metric = "a 99th percentile" if result.score.percentile else "a throughput"
        reasons.append(f"{latency.count} queries; {metric} needs {needed}")
    if latency.cv > MAX_CV:
        reasons.append(f"latency varies by {latency.cv:.0%} (coefficient of variation)")
    if result.drift is not None and abs(result.drift - 1) > MAX_DRIFT:
        reasons.append(f"the second half ran {result.drift:.2f} times as long as the first")
    return reasons


def _state_reasons(result: BenchResult) -> list[str]:
    before, after = result.state.before, result.state.after
    cores, reasons = result.machine.cores, []
    if before.governor is None:
        reasons.append("the clock governor cannot be read, so clocks may have changed")
    elif before.governor != "performance":
        reasons.append(f"the clock governor is '{before.governor}', not 'performance'")
    if before.load_1min is not None and before.load_1min > _MAX_LOAD_OF_OTHERS * cores:
        reasons.append(f"other work was running (load {before.load_1min:.2f} on {cores} cores)")
    if (before.steal_ticks or 0) != (after.steal_ticks or 0):
        reasons.append("the hypervisor gave processor time to other guests")
    if (after.throttle_count or 0) > (before.throttle_count or 0):
        reasons.append("the processor throttled because of its temperature")
    if before.temperature_c is None:
        reasons.append("the temperature cannot be read, so throttling cannot be ruled out")
    return reasons
