"""Names of benchmarks and of machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cxredge.results.bench import BenchResult
from cxredge.telemetry.linux import Machine


def bench_names(results: Sequence[BenchResult]) -> list[str]:
    """Return a name for each benchmark, with as many details as distinguish it from the others."""
    names = [scenario_words(result) for result in results]
    for words in _DETAILS:
        details = [words(result) for result in results]
        if len(set(details)) > 1:
            names = [f"{name}, {detail}" for name, detail in zip(names, details, strict=True)]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: index + 1].count(name)})"
        for index, name in enumerate(names)
    ]


def scenario_words(result: BenchResult) -> str:
    """Return the scenario, the origin of the images and the precision."""
    origin = "from file to class" if "decode" in result.timed else "pixels in memory"
    return f"{result.scenario.value}, {origin}, {result.precision.value.upper()}"


def machine_of(result: BenchResult) -> str:
    """Return a short name of a machine: a board by its target, any other by its processor."""
    return result.target if result.jetson else machine_name(result.machine)


def machine_name(machine: Machine) -> str:
    """Return the processor and the number of cores."""
    return f"{machine.cpu or machine.architecture}, {machine.cores} cores"


def joules_per_image(result: BenchResult) -> float | None:
    """Return the energy per image; None if the machine does not report its power."""
    return result.energy.joules_per_image if result.energy else None


def _threads(result: BenchResult) -> str:
    return f"{result.threads} thread" + ("" if result.threads == 1 else "s")


_DETAILS: tuple[Callable[[BenchResult], str], ...] = (machine_of, _threads)
