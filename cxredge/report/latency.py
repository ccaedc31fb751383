"""How fast a bundle is, on which machines, and whether that can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cxredge import plots
from cxredge.errors import quoted
from cxredge.report import numbers
from cxredge.report.benches import bench_names, joules_per_image, machine_name
from cxredge.report.circumstances import circumstances, machines
from cxredge.report.page import Block, Figure, Missing, Part, Section, Sentences, Table
from cxredge.report.reported_bundle import ReportedBundle, Result

_PERCENTILES = ("p50", "p90", "p99")
_BEYOND = 1.25
_STAGE_WORDS = {
    "read": "the file's bytes",
    "decode": "grey pixels",
    "preprocess": "the square that the network takes",
    "host_to_device": "pixels to the GPU",
    "compute": "the network",
    "device_to_host": "logits from the GPU",
    "post": "probabilities and class",
}


def latency_section(reported: ReportedBundle) -> Section:
    """Show every benchmark of a bundle: all side by side, then each, then the circumstances."""
    title = "Latency and energy"
    if not reported.benches:
        missing = Missing(
            "Latency and energy", f"cxredge bench {quoted(reported.name)} --images FOLDER"
        )
        return Section(title, (missing,))
    names = bench_names(reported.benches)
    blocks: list[Block] = [_overview(names, reported.benches), chart(names, reported.benches)]
    blocks += _energy(reported)
    for name, result in zip(names, reported.benches, strict=True):
        blocks += _one(name, result)
    blocks += [Part("Circumstances"), *circumstances(names, reported.benches)]
    return Section(title, (*blocks, *machines(reported.benches)))


def chart(names: Sequence[str], results: Sequence[Result]) -> Figure:
    """Draw the latencies of benchmarks below one another; precisions differ in colour."""
    precisions = sorted({r["precision"] for r in results})
    short, shared = _told_apart(names)
    rows = [
        plots.Estimate(
            name,
            numbers.milliseconds(r["latency_ms"]["p50"]),
            r["latency_ms"]["p50"],
            tuple(r["latency_ms"]["p50_ci95"]),
            (r["latency_ms"]["p90"], r["latency_ms"]["p99"]),
            precisions.index(r["precision"]),
        )
        for name, r in zip(short, results, strict=True)
    ]
    of_all = f" All: {', '.join(shared)}." if shared else ""
    return Figure(
        "Latencies side by side",
        plots.estimate_chart("Latencies side by side", "milliseconds a query", rows),
        "Dot: median, the band is its 95% interval. Rings: 90th and 99th percentile." + of_all,
    )


def _told_apart(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return names without the words that all share, and those words: a picture has little room."""
    words = [name.split(", ") for name in names]
    shared = [word for word in words[0] if len(names) > 1 and all(word in row for row in words)]
    short = [", ".join(word for word in row if word not in shared) for row in words]
    return (short, shared) if all(short) else (list(names), [])


def _overview(names: Sequence[str], results: Sequence[Result]) -> Table:
    energy = any(joules_per_image(r) is not None for r in results)
    rows = tuple(
        (
            name,
            numbers.count(r["latency_ms"]["count"]),
            *(
                numbers.milliseconds(r["latency_ms"][p], r["latency_ms"][f"{p}_ci95"])
                for p in _PERCENTILES
            ),
            numbers.significant(r["throughput"]),
            *([numbers.joules(joules_per_image(r))] if energy else []),
            "yes" if r["verdict"]["comparable"] else "no",
        )
        for name, r in zip(names, results, strict=True)
    )
    energy_name = ["energy an image"] if energy else []
    header = ("measured", "queries", *_PERCENTILES, "images/s", *energy_name, "comparable")
    where = sorted({machine_name(r) for r in results})
    on = f"On {where[0]}. " if len(where) == 1 else ""
    note = (
        f"{on}Latency is that of a whole query: one image in single-stream, "
        f"{_batches(results)}. In brackets: 95% intervals."
    )
    return Table("All benchmarks of this bundle", header, rows, note)


def _batches(results: Sequence[Result]) -> str:
    found = {r["scenario"]: r["samples_per_query"] for r in results if r["samples_per_query"] > 1}
    if not found:
        return "several in the other scenarios"
    return ", ".join(f"{count} in {scenario}" for scenario, count in found.items())


def _energy(reported: ReportedBundle) -> list[Block]:
    if any(joules_per_image(r) is not None for r in reported.benches):
        return []
    line = "Energy was not measured: none of these machines has a power reading."
    return [Sentences("", (line,))]


def _one(name: str, result: Result) -> list[Block]:
    return [
        Part(name),
        _histogram(name, result),
        _stage_bar(name, result),
        _percentiles(result),
        _verdict(result),
    ]


def _histogram(name: str, result: Result) -> Figure:
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
    picture = plots.histogram(f"Latencies: {name}", "milliseconds a query", values, marks, most)
    return Figure("Latencies", picture, caption)


def _stage_bar(name: str, result: Result) -> Figure:
    stages = result["stages_ms"]
    return Figure(
        "Where the time goes",
        plots.stacked_bar(
            f"Mean time by stage: {name}",
            [(stage, values["mean"]) for stage, values in stages.items()],
        ),
        "Shares of the mean time. "
        + "; ".join(f"{stage}: {words}" for stage, words in _STAGE_WORDS.items() if stage in stages)
        + ".",
    )


def _percentiles(result: Result) -> Table:
    timings: Mapping[str, Any] = {"query": result["latency_ms"], **result["stages_ms"]}
    rows = tuple(
        (
            stage,
            numbers.milliseconds(values["mean"]),
            *(numbers.milliseconds(values[p], values[f"{p}_ci95"]) for p in _PERCENTILES),
            numbers.share(values["cv"]),
        )
        for stage, values in timings.items()
    )
    return Table(
        "Percentiles",
        ("stage", "mean", *_PERCENTILES, "variation"),
        rows,
        "In brackets: 95% intervals from order statistics. Variation: standard deviation over "
        "mean. No query was left out as an outlier.",
    )


def _verdict(result: Result) -> Sentences:
    reasons = result["verdict"]["reasons"]
    if not reasons:
        line = "Nothing spoke against comparing it with other results."
        return Sentences("Verdict: comparable", (line,))
    lines = tuple(reason[:1].upper() + reason[1:] + "." for reason in reasons)
    return Sentences("Verdict: not comparable with other results", lines)
