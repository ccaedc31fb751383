"""Several bundles in one table, with the differences of their metrics from the first bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cxredge import plots
from cxredge.comparison import Limits, ResultSet, compare_what_matches
from cxredge.report import numbers
from cxredge.report.about import served_precision
from cxredge.report.benches import bench_names, machine_of, scenario_words
from cxredge.report.blocks import Block, Figure, Table
from cxredge.report.comparison_page import comparison_tables, comparison_warnings, not_compared
from cxredge.report.latency import latency_chart
from cxredge.report.page import Chapter
from cxredge.report.reported_bundle import ReportedBundle
from cxredge.results.evaluation import Interval


@dataclass(frozen=True)
class SideBySide:
    """Comparison of several bundles.

    Attributes:
        blocks: Tables and charts.
        warnings: What to read before them.
    """

    blocks: tuple[Block, ...] = ()
    warnings: tuple[str, ...] = ()


def side_by_side(bundles: Sequence[ReportedBundle], chapters: Sequence[Chapter]) -> SideBySide:
    """Compare the headlines of all bundles, and their metrics with those of the first bundle."""
    if len(bundles) < 2:
        return SideBySide()
    first, *others = map(_headline_results, bundles)
    found = compare_what_matches(first, others, Limits())
    blocks = (
        _overview(bundles, chapters),
        *_accuracies(chapters),
        *_latencies(bundles),
        *comparison_tables(found),
        *not_compared(found),
    )
    own = "Each bundle's own warnings are listed in its chapter."
    return SideBySide(blocks, (*_caveats(bundles), *comparison_warnings(found), own))


def _headline_results(reported: ReportedBundle) -> ResultSet:
    held = (reported.evaluation, reported.bench)
    return ResultSet(reported.name, [result for result in held if result is not None])


def _caveats(bundles: Sequence[ReportedBundle]) -> list[str]:
    evaluations = [reported.evaluation for reported in bundles if reported.evaluation]
    benches = [reported.bench for reported in bundles if reported.bench]
    found = []
    if len(evaluations) < len(bundles):
        found.append("Not all bundles were evaluated: accuracy at build may be of other images.")
    if len({(result.manifest_sha256, result.split) for result in evaluations}) > 1:
        found.append("Evaluated on different images: accuracies cannot be compared.")
    for reported in bundles:
        if reported.bench_elsewhere is not None:
            found.append(
                f"{reported.name} was not measured on its target, "
                f"{reported.bench_elsewhere.target}: times of other machines are shown in its "
                "chapter only."
            )
    if len({(result.scenario, result.timed) for result in benches}) > 1:
        found.append("Benchmarks of different scenarios: latencies cannot be compared.")
    if not all(result.verdict.comparable for result in benches):
        found.append(
            "Latencies were measured with reservations: see the verdict of each benchmark."
        )
    return found


def _overview(bundles: Sequence[ReportedBundle], chapters: Sequence[Chapter]) -> Table:
    rows = [
        ("network", *(chapter.network for chapter in chapters)),
        ("precision", *map(served_precision, bundles)),
        ("target", *(chapter.target for chapter in chapters)),
    ]
    # By position, not by text: one question names the precision.
    for checks in zip(*(chapter.checks for chapter in chapters), strict=True):
        question = checks[0].question.replace(chapters[0].precision.upper(), "it", 1)
        rows.append((question, *(check.answer.value for check in checks)))
    for headlines in zip(*(chapter.headlines for chapter in chapters), strict=True):
        rows.append((headlines[0].label, *(_cell(h.text, h.ci95) for h in headlines)))
    header = ("", *(chapter.name for chapter in chapters))
    return Table("Side by side", header, tuple(rows), "In brackets: 95% intervals.")


def _cell(text: str, ci95: Interval | None) -> str:
    if ci95 is None:
        return text
    if text.endswith("%"):
        return text + numbers.bounds(ci95, 100, 1)
    low, high = map(numbers.significant, ci95)
    return f"{text} ({low}\N{EN DASH}{high})"


def _accuracies(chapters: Sequence[Chapter]) -> list[Figure]:
    known = [(chapter.name, chapter.headlines[0]) for chapter in chapters]
    rows = [
        plots.Estimate(name, headline.text, 100 * headline.value, _percent(headline.ci95))
        for name, headline in known
        if headline.value is not None
    ]
    if not rows:
        return []
    picture = plots.estimate_chart("Accuracy side by side", "accuracy, %", rows, (0.0, 100.0))
    return [Figure("Accuracy side by side", picture, "Dot: accuracy, with its 95% interval.")]


def _percent(ci95: Interval | None) -> Interval | None:
    return None if ci95 is None else (100 * ci95[0], 100 * ci95[1])


def _latencies(bundles: Sequence[ReportedBundle]) -> list[Figure]:
    benches = [(reported.name, reported.bench) for reported in bundles if reported.bench]
    if not benches:
        return []
    results = [result for _, result in benches]
    words = bench_names(results)
    if len({scenario_words(result) for result in results}) == 1:
        words = [machine_of(result) for result in results]
    names = [f"{name}: {detail}" for (name, _), detail in zip(benches, words, strict=True)]
    return latency_chart(names, results)
