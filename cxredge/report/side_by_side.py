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
    labels = tuple(headline.label for headline in chapters[0].headlines)
    rows = tuple(
        (
            chapter.name,
            chapter.title,
            *(_cell(headline.text, headline.ci95) for headline in chapter.headlines),
        )
        for chapter in chapters
    )
    return Table("Side by side", ("bundle", "what", *labels), rows, " ".join(_caveats(sources)))


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
    return [*found, "Which differences exceed the noise: cxredge compare A B."]


def _differ(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values[1:])
