"""Latency, throughput and energy of a bundle, with their circumstances."""

from __future__ import annotations

from collections.abc import Sequence

from cxredge import plots
from cxredge.errors import quoted
from cxredge.metrics.latency import SHARES
from cxredge.report import numbers
from cxredge.report.benches import bench_names, joules_per_image, machine_of
from cxredge.report.blocks import Block, Figure, Missing, Part, Section, Sentences, Table
from cxredge.report.circumstances import circumstances, machines
from cxredge.report.reported_bundle import ReportedBundle
from cxredge.results.bench import BenchResult

_PERCENTILES = tuple(SHARES)
_HISTOGRAM_END = 1.25
"""End of the histogram, relative to the 99th percentile."""

_STAGE_WORDS = {
    "read": "bytes of the file",
    "decode": "grey pixels",
    "preprocess": "the square input of the network",
    "host_to_device": "pixels to the GPU",
    "compute": "the network",
    "device_to_host": "logits from the GPU",
    "post": "probabilities and class",
}


def latency_section(reported: ReportedBundle) -> Section:
    """Show all benchmarks of a bundle side by side, then each one, then the circumstances."""
    title = "Latency and energy"
    if not reported.benches:
        command = f"cxredge bench {quoted(reported.name)} --images FOLDER"
        return Section(title, (Missing(title, command),))
    names = bench_names(reported.benches)
    blocks: list[Block] = [
        _overview(names, reported.benches),
        *latency_chart(names, reported.benches),
    ]
    if reported.bench_elsewhere is not None:
        target = reported.bench_elsewhere.target
        line = f"None of these was measured on the target, {target}; it may be faster or slower."
        blocks.insert(0, Sentences("", (line,)))
    if all(joules_per_image(result) is None for result in reported.benches):
        line = "Energy was not measured: none of these machines reports its power."
        blocks.append(Sentences("", (line,)))
    for name, result in zip(names, reported.benches, strict=True):
        blocks += _one(name, result)
    blocks += [Part("Circumstances"), *circumstances(names, reported.benches)]
    return Section(title, (*blocks, *machines(reported.benches)))


def latency_chart(names: Sequence[str], results: Sequence[BenchResult]) -> list[Figure]:
    """Draw the latencies of benchmarks below each other, with a colour for each precision.

    Benchmarks with too few queries for a median are left out; without any others, there is no
    chart.
    """
    precisions = sorted({result.precision for result in results})
    short, shared = _without_shared_words(names)
    rows = [
        plots.Estimate(
            name,
            numbers.milliseconds(result.latency_ms.p50),
            result.latency_ms.p50,
            result.latency_ms.p50_ci95,
            [one.value for one in result.latency_ms.percentiles if one.name != "p50"],
            precisions.index(result.precision),
        )
        for name, result in zip(short, results, strict=True)
        if result.latency_ms.percentile("p50")
    ]
    if not rows:
        return []
    of_all = f" All: {', '.join(shared)}." if shared else ""
    return [
        Figure(
            "Latencies side by side",
            plots.estimate_chart("Latencies side by side", "milliseconds per query", rows),
            "Dot: median, with its 95% interval. Rings: 90th and 99th percentile, if there are "
            "enough queries." + of_all,
        )
    ]


def _without_shared_words(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return names without the words that all share, and those words; a chart has little room."""
    words = [name.split(", ") for name in names]
    shared = [word for word in words[0] if len(names) > 1 and all(word in row for row in words)]
    short = [", ".join(word for word in row if word not in shared) for row in words]
    return (short, shared) if all(short) else (list(names), [])


def _overview(names: Sequence[str], results: Sequence[BenchResult]) -> Table:
    with_energy = any(joules_per_image(result) is not None for result in results)
    rows = tuple(
        (
            name,
            numbers.count(result.latency_ms.count),
            *(numbers.percentile(result.latency_ms, each) for each in _PERCENTILES),
            numbers.significant(result.throughput),
            *([numbers.joules(joules_per_image(result))] if with_energy else []),
            "yes" if result.verdict.comparable else "no",
        )
        for name, result in zip(names, results, strict=True)
    )
    energy_column = ["energy per image"] if with_energy else []
    header = ("measured", "queries", *_PERCENTILES, "images/s", *energy_column, "comparable")
    where = sorted({machine_of(result) for result in results})
    on = f"On {where[0]}. " if len(where) == 1 else ""
    note = (
        f"{on}Latency is that of a whole query: one image in single-stream, "
        f"{_query_sizes(results)}. In brackets: 95% intervals. {numbers.PERCENTILE_RULE}"
    )
    return Table("All benchmarks of this bundle", header, rows, note)


def _query_sizes(results: Sequence[BenchResult]) -> str:
    found = {r.scenario: r.samples_per_query for r in results if r.samples_per_query > 1}
    if not found:
        return "several in the other scenarios"
    return ", ".join(f"{count} in {scenario.value}" for scenario, count in found.items())


def _one(name: str, result: BenchResult) -> list[Block]:
    return [
        Part(name),
        _histogram(name, result),
        _stage_bar(name, result),
        _percentile_table(result),
        _verdict(result),
    ]


def _histogram(name: str, result: BenchResult) -> Figure:
    latency, values = result.latency_ms, result.histogram_ms
    end = _HISTOGRAM_END * latency.p99 if latency.percentile("p99") else max(values)
    marks = [
        plots.Line(f"{one.name} {numbers.milliseconds(one.value)}", [one.value], [0])
        for one in latency.percentiles
    ]
    beyond = sum(value > end for value in values)
    caption = f"{numbers.count(len(values))} of {numbers.count(latency.count)} queries."
    if beyond:
        caption += (
            f" The last bin also holds {beyond} queries beyond {numbers.milliseconds(end)}, up "
            f"to {numbers.milliseconds(max(values))}."
        )
    picture = plots.histogram(f"Latencies: {name}", "milliseconds per query", values, marks, end)
    return Figure("Latencies", picture, caption)


def _stage_bar(name: str, result: BenchResult) -> Figure:
    stages = result.stages_ms
    words = [f"{stage}: {words}" for stage, words in _STAGE_WORDS.items() if stage in stages]
    return Figure(
        "Time by stage",
        plots.stacked_bar(
            f"Mean time by stage: {name}",
            [(stage, latency.mean) for stage, latency in stages.items()],
        ),
        f"Shares of the mean time. {'; '.join(words)}.",
    )


def _percentile_table(result: BenchResult) -> Table:
    rows = tuple(
        (
            stage,
            numbers.milliseconds(latency.mean),
            *(numbers.percentile(latency, each) for each in _PERCENTILES),
            numbers.share(latency.cv),
        )
        for stage, latency in {"query": result.latency_ms, **result.stages_ms}.items()
    )
    return Table(
        "Percentiles",
        ("stage", "mean", *_PERCENTILES, "variation"),
        rows,
        "In brackets: 95% intervals from order statistics. Variation: standard deviation over "
        f"mean. No outliers were removed. {numbers.PERCENTILE_RULE}",
    )


def _verdict(result: BenchResult) -> Sentences:
    if result.verdict.comparable:
        line = "Nothing was found that prevents a comparison with other results."
        return Sentences("Verdict: comparable", (line,))
    lines = tuple(reason[:1].upper() + reason[1:] + "." for reason in result.verdict.reasons)
    return Sentences("Verdict: not comparable with other results", lines)
