"""Circumstances of benchmarks side by side, and facts about the machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from cxredge.report import numbers
from cxredge.report.benches import machine_of
from cxredge.report.blocks import Facts, Table
from cxredge.results.bench import BenchResult, States
from cxredge.telemetry.energy import EnergyPerImage
from cxredge.telemetry.linux import Machine
from cxredge.telemetry.sampling import Range

_COLUMNS = 4
"""Benchmarks per table; more do not fit on a phone or on paper."""

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
    "steal_ticks": "Steal time, ticks",
    "throttle_count": "Thermal throttling events",
    "process_memory_mb": "Memory of the process, MB",
    "samples": "Samples of the state",
    "interval_s": "Seconds between samples",
    "reading_ms_per_sample": "Milliseconds per sample",
    "gpu_clock_mhz": "GPU clock, MHz",
    "power_mw": "Module power, mW",
}


def circumstances(names: Sequence[str], results: Sequence[BenchResult]) -> Iterator[Table]:
    """Yield tables with a column for each benchmark."""
    for start in range(0, len(results), _COLUMNS):
        columns = [_circumstances(result) for result in results[start : start + _COLUMNS]]
        rows = tuple((key, *(column.get(key, "") for column in columns)) for key in _keys(columns))
        header = ("", *names[start : start + _COLUMNS])
        title = "Side by side" + (", continued" if start else "")
        note = (
            "State of the machine: before the measurement \N{RIGHTWARDS ARROW} during "
            "\N{RIGHTWARDS ARROW} after it."
        )
        yield Table(title, header, rows, note)


def machines(results: Sequence[BenchResult]) -> Iterator[Facts]:
    """Yield the facts about each machine, once."""
    seen: list[Machine] = []
    for result in results:
        if result.machine not in seen:
            seen.append(result.machine)
            yield machine_facts(f"Machine: {machine_of(result)}", result.machine)


def machine_facts(title: str, machine: Machine) -> Facts:
    """Return the facts about a machine."""
    pairs = tuple((words, numbers.plain(getattr(machine, key))) for key, words in _MACHINE.items())
    return Facts(title, pairs)


def _circumstances(result: BenchResult) -> dict[str, str]:
    cold = result.cold_start_ms
    return {
        "Images per query": numbers.plain(result.samples_per_query),
        "Distinct images": numbers.plain(result.images),
        "Threads": numbers.plain(result.threads),
        "Measured for": f"{numbers.significant(result.seconds)} s",
        "Warm-up queries": numbers.plain(result.warm_up_queries),
        "Cold start: loading": numbers.milliseconds(cold.load),
        "Cold start: first inference": numbers.milliseconds(cold.first_inference),
        "Runtime": f"{result.backend} {result.tools.get(result.backend, '')}".strip(),
        "Power": _power(result.energy),
        **_state(result.state),
    }


def _power(energy: EnergyPerImage | None) -> str:
    if energy is None:
        return numbers.MISSING
    return f"{numbers.significant(energy.mean_watts)} W ({energy.source})"


def _state(state: States) -> dict[str, str]:
    """Return each reading before, during and after the queries, unchanged values once."""
    moments = (state.before, state.during, state.after)
    names = dict.fromkeys(field.name for moment in moments for field in fields(moment))
    ordered = [*(name for name in _STATE if name in names), *(n for n in names if n not in _STATE)]
    return {
        _STATE.get(name, numbers.words_of(name)): _reading(
            [getattr(moment, name) for moment in moments if hasattr(moment, name)]
        )
        for name in ordered
    }


def _reading(values: Sequence[object]) -> str:
    texts = [_plain(value) for value in values]
    changed = [text for i, text in enumerate(texts) if not i or text != texts[i - 1]]
    return " \N{RIGHTWARDS ARROW} ".join(changed) or numbers.MISSING


def _plain(value: object) -> str:
    if isinstance(value, Range):
        low, mean, high = map(numbers.significant, (value.min, value.mean, value.max))
        return f"min {low}, mean {mean}, max {high}"
    return numbers.plain(value)


def _keys(columns: Sequence[Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(key for column in columns for key in column))
