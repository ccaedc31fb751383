"""Under which circumstances benchmarks were taken, side by side, and what the machines are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cxredge.report import numbers
from cxredge.report.benches import machine_name
from cxredge.report.page import Facts, Table
from cxredge.report.reported_bundle import Result

_COLUMNS = 4
"""Benchmarks in one table; more would not be read on a phone or on paper."""

_MACHINE = {
    "cpu": "Processor",
    "architecture": "Architecture",
    "cores": "Cores in use",
    "cpu_flags": "Instruction sets",
    "memory_mb": "Memory, MB",
    "virtual_machine": "Virtual machine",
    "system": "System",
}
_STATE = {
    "governor": "Clock governor",
    "frequency_mhz": "Frequency, MHz",
    "temperature_c": "Temperature, \N{DEGREE SIGN}C",
    "load_1min": "Load over one minute",
    "memory_available_mb": "Memory available, MB",
    "steal_ticks": "Time given to other machines, ticks",
    "throttle_count": "Times slowed down for heat",
    "process_memory_mb": "Memory of the process, MB",
}
_MOMENTS = ("before", "during", "after")


def circumstances(names: Sequence[str], results: Sequence[Result]) -> Iterator[Table]:
    """Yield tables with a column for each benchmark."""
    for start in range(0, len(results), _COLUMNS):
        chosen = results[start : start + _COLUMNS]
        columns = [_circumstances(result) for result in chosen]
        rows = tuple((key, *(column.get(key, "") for column in columns)) for key in _keys(columns))
        header = ("", *names[start : start + _COLUMNS])
        title = "Side by side" + (", continued" if start else "")
        note = "State of the machine: before the measurement \N{RIGHTWARDS ARROW} after it."
        yield Table(title, header, rows, note)


def machines(results: Sequence[Result]) -> Iterator[Facts]:
    """Yield what each machine is, once."""
    seen: list[Mapping[str, Any]] = []
    for result in results:
        if result["machine"] not in seen:
            seen.append(result["machine"])
            yield machine_facts(f"Machine: {machine_name(result)}", result["machine"])


def machine_facts(title: str, machine: Mapping[str, Any]) -> Facts:
    """Return what a machine is, known facts first named, others under their own key."""
    known = [(_MACHINE[key], numbers.plain(machine.get(key))) for key in _MACHINE]
    others = [(key, numbers.plain(value)) for key, value in machine.items() if key not in _MACHINE]
    return Facts(title, tuple(known + others))


def _circumstances(result: Result) -> dict[str, str]:
    cold = result["cold_start_ms"]
    return {
        "Images a query": numbers.plain(result["samples_per_query"]),
        "Different images": numbers.plain(result["images"]),
        "Threads": numbers.plain(result["threads"]),
        "Measured for": f"{numbers.significant(result['seconds'])} s",
        "Untimed queries before": numbers.plain(result["warm_up_queries"]),
        "Cold start: loading": numbers.milliseconds(cold["load"]),
        "Cold start: first inference": numbers.milliseconds(cold["first_inference"]),
        "Runtime": _runtime(result),
        **_power(result.get("energy") or {}),
        **_state(result["state"]),
    }


def _power(energy: Mapping[str, Any]) -> dict[str, str]:
    if not energy:
        return {"Power": numbers.MISSING}
    return {"Power": f"{numbers.significant(energy['mean_watts'])} W by {energy['source']}"}


def _runtime(result: Result) -> str:
    return f"{result['backend']} {result.get('tools', {}).get(result['backend'], '')}".strip()


def _state(state: Mapping[str, Any]) -> dict[str, str]:
    """Return each reading, as it was before and after where it changed."""
    moments = [state[moment] for moment in _MOMENTS if state.get(moment)]
    keys = [*_STATE, *dict.fromkeys(key for m in moments for key in m if key not in _STATE)]
    return {_STATE.get(key, key): _reading([m[key] for m in moments if key in m]) for key in keys}


def _reading(values: Sequence[Any]) -> str:
    texts = [_plain(value) for value in values]
    return (
        " \N{RIGHTWARDS ARROW} ".join(
            text for index, text in enumerate(texts) if not index or text != texts[index - 1]
        )
        or numbers.MISSING
    )


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {numbers.plain(v)}" for key, v in value.items())
    return numbers.plain(value)


def _keys(columns: Sequence[Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(key for column in columns for key in column))
