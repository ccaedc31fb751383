"""How benchmarks are called where several stand together, and what they say of energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cxredge.report.reported_bundle import Result


def bench_names(results: Sequence[Result]) -> list[str]:
    """Return what each benchmark measured, in as many words as tell it from the others."""
    names = [scenario_words(result) for result in results]
    for told, words in _DETAILS:
        if len({told(result) for result in results}) > 1:
            names = [
                f"{name}, {words(result)}" for name, result in zip(names, results, strict=True)
            ]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: index + 1].count(name)})"
        for index, name in enumerate(names)
    ]


def scenario_words(result: Result) -> str:
    """Return the scenario, where the images came from and the precision."""
    timed = "from file to class" if "decode" in result["timed"] else "pixels in memory"
    return f"{result['scenario']}, {timed}, {result['precision'].upper()}"


def machine_name(result: Mapping[str, Any]) -> str:
    """Return a machine in a few words: a board by its target, any other by its processor."""
    machine = result["machine"]
    if result.get("jetson"):
        return str(result["target"])
    processor = machine.get("cpu") or machine.get("architecture") or "processor not named"
    cores = machine.get("cores")
    return f"{processor}, {cores} cores" if cores else str(processor)


def joules_per_image(result: Result) -> float | None:
    """Return the energy that one image took; None where the machine has no power reading."""
    value = (result.get("energy") or {}).get("joules_per_image")
    return None if value is None else float(value)


def _threads(result: Result) -> str:
    return f"{result['threads']} thread" + ("" if result["threads"] == 1 else "s")


_DETAILS: tuple[tuple[Callable[[Result], str], Callable[[Result], str]], ...] = (
    (machine_name, machine_name),
    (_threads, _threads),
)
