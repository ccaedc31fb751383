"""Names of benchmarks and of machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cxredge.results.bench import BenchResult
from cxredge.targets.registry import all_targets
from cxredge.telemetry.linux import Machine


def bench_names(results: Sequence[BenchResult]) -> list[str]:
    """Return a name for each benchmark, with as many details as distinguish it from the others."""
    names = [scenario_words(result) + _elsewhere(result) for result in results]
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
    is_target_board = result.jetson is not None and on_target(result)
    return result.target if is_target_board else machine_name(result.machine)


def on_target(result: BenchResult) -> bool:
    """Return whether a result was measured on the target of its bundle."""
    target = all_targets().get(result.target)
    of_target = target is None or target.machine == result.machine.architecture
    return result.measured_on_target and of_target


def _elsewhere(result: BenchResult) -> str:
    """Return words for a machine that is not the target; empty on the target."""
    if on_target(result):
        return ""
    return f", on {machine_name(result.machine)}, not {result.target}"


def machine_name(machine: Machine) -> str:
    """Return the processor and the number of cores."""
    return f"{machine.cpu or machine.architecture}, {machine.cores} cores"


def joules_per_image(result: BenchResult) -> float | None:
    """Return the energy per image; None if the machine does not report its power."""
    return result.energy.joules_per_image if result.energy else None


def _threads(result: BenchResult) -> str:
    return f"{result.threads} thread" + ("" if result.threads == 1 else "s")


_DETAILS: tuple[Callable[[BenchResult], str], ...] = (machine_of, _threads)
