"""Several bundles in one table, with what forbids to compare them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cxredge.report import numbers
from cxredge.report.page import Chapter, Table
from cxredge.report.sources import Source


def side_by_side(sources: Sequence[Source], chapters: Sequence[Chapter]) -> Table | None:
    """Return the headlines of all bundles as a table; None for a single one."""
    if len(sources) < 2:
        return None
    named = {
        "network": [chapter.network for chapter in chapters],
        "precision": [chapter.precision.upper() for chapter in chapters],
        "target": [chapter.target for chapter in chapters],
    }
    for index, first in enumerate(chapters[0].headlines):
        row = [chapter.headlines[index] for chapter in chapters]
        named[first.label] = [_cell(headline.text, headline.ci95) for headline in row]
    header = ("", *(chapter.name for chapter in chapters))
    rows = tuple((label, *cells) for label, cells in named.items())
    return Table("Side by side", header, rows, " ".join(_caveats(sources)))


def _cell(text: str, ci95: tuple[float, float] | None) -> str:
    if ci95 is None:
        return text
    if text.endswith("%"):
        return text + numbers.bounds(ci95, 100, 1)
    low, high = map(numbers.significant, ci95)
    return f"{text} ({low}\N{EN DASH}{high})"


def _caveats(sources: Sequence[Source]) -> list[str]:
    """Say what differs between the measurements besides the bundles."""
    evaluations = [s.evaluation for s in sources if s.evaluation]
    benches = [s.bench for s in sources if s.bench]
    found = ["In brackets: 95% intervals."]
    if len(evaluations) < len(sources):
        found.append("Not all were evaluated: accuracy at build may be of other images.")
    if _differ([(e["manifest_sha256"], e["split"]) for e in evaluations]):
        found.append("Evaluated on different images: accuracies cannot be compared.")
    if _differ([(b["scenario"], b["timed"], b["threads"]) for b in benches]):
        found.append("Benchmarks differ in scenario, source of images or threads.")
    if _differ([b["machine"] for b in benches]):
        found.append("Latencies are of different machines.")
    if not all(b["verdict"]["comparable"] for b in benches):
        found.append("Latencies were measured under doubtful conditions: see the warnings below.")
    return [*found, "Which differences exceed the noise: cxredge compare A B."]


def _differ(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values[1:])
