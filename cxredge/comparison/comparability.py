"""Whether a measured latency may be held against others, and why not.

Works on results of ``cxredge bench`` as they lie in files, so that results of other devices and
other days can be judged too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Result = Mapping[str, Any]

MAX_CV = 0.10
MAX_DRIFT = 0.10
MAX_CLOCK_DIFFERENCE = 0.05
_MAX_LOAD_OF_OTHERS = 0.25


@dataclass(frozen=True)
class Comparability:
    """A judgement with its reasons.

    Attributes:
        reasons: What speaks against a comparison, a sentence without its full stop each.
    """

    reasons: tuple[str, ...]

    @property
    def comparable(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as JSON values."""
        return {"comparable": self.comparable, "reasons": list(self.reasons)}


def judge(result: Result, more: Sequence[str] = ()) -> Comparability:
    """Tell whether one result may be held against others at all.

    Args:
        result: Of ``cxredge bench``, its own verdict not needed.
        more: Reasons that were found elsewhere.
    """
    return Comparability((*more, *_of_the_sample(result), *_of_the_state(result)))


def comparable(first: Result, second: Result, across: Collection[str] = ()) -> Comparability:
    """Tell whether the latencies of two results may be held against each other.

    Precision, network and backend may differ: to compare them is what results are for. What each
    result's own verdict says counts for the pair.

    Args:
        first: A result of ``cxredge bench``.
        second: Another one.
        across: Aspects that are meant to differ, names in ``ASPECTS``; for example ``machine``
            and ``target`` where devices are compared.
    """
    unlike = [
        f"{words}: {_plain(a)} and {_plain(b)}"
        for name, (words, read) in ASPECTS.items()
        if name not in across and (a := read(first)) != (b := read(second))
    ]
    if "clock" not in across and (clocks := _clocks_apart(first, second)):
        unlike.append(clocks)
    doubts = [
        f"{which}: {reason}"
        for which, result in (("the first", first), ("the second", second))
        for reason in result.get("verdict", {}).get("reasons", ())
    ]
    return Comparability((*unlike, *doubts))


def _at(*keys: str) -> Callable[[Result], Any]:
    """Return a function that reads what stands under the keys, or None where nothing does."""

    def read(result: Result) -> Any:
        value: Any = result
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    return read


def _machine(result: Result) -> tuple[Any, ...]:
    machine = result.get("machine", {})
    return (machine.get("cpu"), machine.get("cores"))


ASPECTS: Mapping[str, tuple[str, Callable[[Result], Any]]] = {
    "scenario": ("the scenarios differ", _at("scenario")),
    "timed": ("other stages were timed", _at("timed")),
    "samples_per_query": ("images a query differ", _at("samples_per_query")),
    "preprocessing": ("the preprocessing differs", _at("preprocessing")),
    "input_size": ("the input sizes differ", _at("input_size")),
    "harness": ("another harness measured", _at("harness")),
    "machine": ("the machines differ", _machine),
    "target": ("the targets differ", _at("target")),
    "threads": ("the numbers of threads differ", _at("threads")),
    "governor": ("the clock governors differ", _at("state", "before", "governor")),
    "power_mode": ("the power modes differ", _at("jetson", "before", "power_mode", "name")),
    "gpu_clock": ("the GPU clocks differ", _at("jetson", "before", "gpu_clock", "current_mhz")),
}
"""What has to be equal, with the words for a difference; besides, ``clock`` within 5%."""


def _clocks_apart(first: Result, second: Result) -> str | None:
    read = _at("state", "during", "frequency_mhz", "mean")
    a, b = read(first), read(second)
    if not a or not b or abs(a / b - 1) <= MAX_CLOCK_DIFFERENCE:
        return None
    return f"the processors ran at different clocks: {a:.0f} and {b:.0f} MHz"


def _plain(value: Any) -> str:
    if value is None:
        return "unknown"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _of_the_sample(result: Result) -> list[str]:
    latency, least = result["latency_ms"], result["queries"]["needed"]
    doubts = []
    if latency["count"] < least:
        of = "a 99th percentile" if result["score"]["percentile"] else "a throughput"
        doubts.append(f"{latency['count']} queries; {of} needs {least}")
    if latency["cv"] > MAX_CV:
        doubts.append(f"latency varies by {latency['cv']:.0%} (coefficient of variation)")
    drift = result["drift"]
    if drift is not None and abs(drift - 1) > MAX_DRIFT:
        doubts.append(f"the second half ran {drift:.2f} times as long as the first")
    return doubts


def _of_the_state(result: Result) -> list[str]:
    before, after = result["state"]["before"], result["state"]["after"]
    cores, doubts = result["machine"]["cores"], []
    if before["governor"] is None:
        doubts.append("the clock governor cannot be read, so clocks may have changed")
    elif before["governor"] != "performance":
        doubts.append(f"the clock governor is '{before['governor']}', not 'performance'")
    load = before["load_1min"]
    if load is not None and load > _MAX_LOAD_OF_OTHERS * cores:
        doubts.append(f"other work was running (load {load:.2f} on {cores} cores)")
    if (before["steal_ticks"] or 0) != (after["steal_ticks"] or 0):
        doubts.append("the hypervisor gave processor time to other machines")
    if (after["throttle_count"] or 0) > (before["throttle_count"] or 0):
        doubts.append("the processor slowed itself down because of its temperature")
    if before["temperature_c"] is None:
        doubts.append("the temperature cannot be read, so throttling cannot be ruled out")
    return doubts
