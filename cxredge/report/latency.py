"""How fast a bundle is, on which machine, and whether that can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cxredge import plots
from cxredge.report import numbers
from cxredge.report.page import Block, Facts, Figure, Missing, Section, Sentences, Table
from cxredge.report.sources import Result, Source

_PERCENTILES = ("p50", "p90", "p99")
_BEYOND = 1.25

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
}


def latency_section(source: Source) -> Section:
    """Show every benchmark of a bundle."""
    title = "Latency and throughput"
    if not source.benches:
        missing = Missing("Latency", f"cxredge bench {source.name} --images FOLDER")
        return Section(title, (missing,))
    blocks: list[Block] = [_overview(source)]
    for result in source.benches:
        blocks += _one(result)
    seen: list[Mapping[str, Any]] = []
    for result in source.benches:
        if result["machine"] not in seen:
            seen.append(result["machine"])
            blocks.append(machine_facts("Machine of the benchmark", result["machine"]))
    return Section(title, tuple(blocks))


def bench_name(result: Result) -> str:
    """Return what was measured, in words."""
    timed = "from file to class" if "decode" in result["timed"] else "pixels in memory"
    return f"{result['scenario']}, {timed}, {result['precision'].upper()}"


def machine_facts(title: str, machine: Mapping[str, Any]) -> Facts:
    """Return what a machine is, known facts first named, others under their own key."""
    known = [(_MACHINE[key], numbers.plain(machine.get(key))) for key in _MACHINE]
    others = [(key, numbers.plain(value)) for key, value in machine.items() if key not in _MACHINE]
    return Facts(title, tuple(known + others))


def _overview(source: Source) -> Table:
    rows = tuple(
        (
            bench_name(r),
            str(r["threads"]),
            numbers.count(r["latency_ms"]["count"]),
            *(numbers.milliseconds(r["latency_ms"][p]) for p in _PERCENTILES),
            numbers.significant(r["throughput"]),
            "comparable" if r["verdict"]["comparable"] else "not comparable",
        )
        for r in source.benches
    )
    header = ("measured", "threads", "queries", *_PERCENTILES, "images/s", "verdict")
    note = "A query is one image in single-stream; latency is that of the whole query."
    return Table("All benchmarks of this bundle", header, rows, note)


def _one(result: Result) -> list[Block]:
    return [
        _histogram(result),
        _stage_bar(result),
        _percentiles(result),
        _circumstances(result),
        _verdict(result),
        _state(result),
    ]


def _histogram(result: Result) -> Figure:
    latency, values = result["latency_ms"], result["histogram_ms"]
    most = _BEYOND * latency["p99"]
    marks = [
        plots.Line(f"{p} {numbers.milliseconds(latency[p])}", [latency[p]], [0])
        for p in _PERCENTILES
    ]
    beyond = sum(value > most for value in values)
    caption = f"{numbers.count(len(values))} of {numbers.count(latency['count'])} queries."
    if beyond:
        caption += (
            f" The last bin also holds {beyond} queries beyond {numbers.milliseconds(most)}, up "
            f"to {numbers.milliseconds(max(values))}."
        )
    name = bench_name(result)
    picture = plots.histogram(f"Latencies: {name}", "milliseconds a query", values, marks, most)
    return Figure(f"Latencies: {name}", picture, caption)


def _stage_bar(result: Result) -> Figure:
    stages = result["stages_ms"]
    return Figure(
        f"Where the time goes: {bench_name(result)}",
        plots.stacked_bar(
            f"Mean time by stage: {bench_name(result)}",
            [(name, values["mean"]) for name, values in stages.items()],
        ),
        "Shares of the mean time. "
        + "; ".join(f"{name}: {words}" for name, words in _STAGE_WORDS.items() if name in stages)
        + ".",
    )


_STAGE_WORDS = {
    "decode": "read the file, decode, scale to a grey square",
    "compute": "the network",
    "post": "probabilities and class",
}


def _percentiles(result: Result) -> Table:
    timings = {"query": result["latency_ms"], **result["stages_ms"]}
    rows = tuple(
        (
            name,
            numbers.milliseconds(values["mean"]),
            *(numbers.milliseconds(values[p], values[f"{p}_ci95"]) for p in _PERCENTILES),
            numbers.share(values["cv"]),
        )
        for name, values in timings.items()
    )
    return Table(
        f"Percentiles: {bench_name(result)}",
        ("stage", "mean", *_PERCENTILES, "variation"),
        rows,
        "In brackets: 95% intervals from order statistics. Variation: standard deviation over "
        "mean. No query was left out as an outlier.",
    )


def _circumstances(result: Result) -> Facts:
    cold = result["cold_start_ms"]
    return Facts(
        f"Circumstances: {bench_name(result)}",
        (
            ("Throughput", f"{numbers.significant(result['throughput'])} images/s"),
            ("Images a query", numbers.plain(result["samples_per_query"])),
            ("Different images", numbers.plain(result["images"])),
            ("Threads", numbers.plain(result["threads"])),
            ("Measured for", f"{numbers.significant(result['seconds'])} s"),
            ("Untimed queries before", numbers.plain(result["warm_up_queries"])),
            ("Cold start: loading", numbers.milliseconds(cold["load"])),
            ("Cold start: first inference", numbers.milliseconds(cold["first_inference"])),
            ("Runtime", _runtime(result)),
        ),
    )


def _runtime(result: Result) -> str:
    return f"{result['backend']} {result.get('tools', {}).get(result['backend'], '')}".strip()


def _verdict(result: Result) -> Sentences:
    verdict = result["verdict"]
    if verdict["comparable"]:
        return Sentences("Verdict", ("Comparable with other results: nothing spoke against it.",))
    reasons = tuple(reason[:1].upper() + reason[1:] + "." for reason in verdict["reasons"])
    return Sentences("Verdict: not comparable with other results", reasons)


def _state(result: Result) -> Table:
    before, after = result["state"]["before"], result["state"]["after"]
    keys = [*_STATE, *(key for key in before if key not in _STATE)]
    return Table(
        "State of the machine",
        ("", "before", "after"),
        tuple(
            (_STATE.get(k, k), numbers.plain(before.get(k)), numbers.plain(after.get(k)))
            for k in keys
        ),
    )
