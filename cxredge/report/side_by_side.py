"""Several bundles in one table, with what forbids to compare them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cxredge import plots
from cxredge.report import numbers
from cxredge.report.about import served_precision
from cxredge.report.benches import bench_names, machine_name, scenario_words
from cxredge.report.latency import chart
from cxredge.report.page import Block, Chapter, Figure, Table
from cxredge.report.reported_bundle import ReportedBundle


def side_by_side(
    bundles: Sequence[ReportedBundle], chapters: Sequence[Chapter]
) -> tuple[Block, ...]:
    """Return the headlines of all bundles as a table and as pictures; nothing for a single one."""
    if len(bundles) < 2:
        return ()
    named = {
        "network": [chapter.network for chapter in chapters],
        "precision": [served_precision(reported) for reported in bundles],
        "target": [chapter.target for chapter in chapters],
    }
    # By place, not by name: one question names the precision it asks about.
    for row in zip(*(chapter.checks for chapter in chapters), strict=True):
        question = row[0].question.replace(chapters[0].precision.upper(), "it", 1)
        named[question] = [check.answer.value for check in row]
    for headlines in zip(*(chapter.headlines for chapter in chapters), strict=True):
        named[headlines[0].label] = [_cell(h.text, h.ci95) for h in headlines]
    header = ("", *(chapter.name for chapter in chapters))
    rows = tuple((label, *cells) for label, cells in named.items())
    note = "In brackets: 95% intervals. Which differences exceed the noise: cxredge compare A B."
    table = Table("Side by side", header, rows, note)
    return (table, *_accuracies(chapters), *_latencies(bundles))


def _cell(text: str, ci95: tuple[float, float] | None) -> str:
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
    return [
        Figure("Accuracy side by side", picture, "Dot: accuracy, the band is its 95% interval.")
    ]


def _percent(ci95: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if ci95 is None else (100 * ci95[0], 100 * ci95[1])


def _latencies(bundles: Sequence[ReportedBundle]) -> list[Figure]:
    benches = [
        (reported.name, reported.bench) for reported in bundles if reported.bench is not None
    ]
    if not benches:
        return []
    results = [result for _, result in benches]
    words = bench_names(results)
    if not _differ([scenario_words(result) for result in results]):
        words = [machine_name(result) for result in results]
    names = [f"{name}: {told}" for (name, _), told in zip(benches, words, strict=True)]
    return [chart(names, results)]


def caveats(bundles: Sequence[ReportedBundle]) -> tuple[str, ...]:
    """Say what differs between the measurements besides the bundles."""
    if len(bundles) < 2:
        return ()
    evaluations = [s.evaluation for s in bundles if s.evaluation]
    benches = [s.bench for s in bundles if s.bench]
    found = []
    if len(evaluations) < len(bundles):
        found.append("Not all were evaluated: accuracy at build may be of other images.")
    if _differ([(e["manifest_sha256"], e["split"]) for e in evaluations]):
        found.append("Evaluated on different images: accuracies cannot be compared.")
    if _differ([(b["scenario"], b["timed"], b["threads"]) for b in benches]):
        found.append("Benchmarks differ in scenario, source of images or threads.")
    if _differ([b["machine"] for b in benches]):
        found.append("Latencies are of different machines.")
    if not all(b["verdict"]["comparable"] for b in benches):
        found.append("Latencies were measured under doubtful conditions: see each bundle.")
    return (*found, "What each bundle's own numbers leave open stands at its beginning.")


def _differ(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values[1:])
