"""A comparison as a page, as Markdown or as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cxredge import __version__
from cxredge.artifacts.card import write_text
from cxredge.artifacts.csv_text import csv_line
from cxredge.comparison import Comparison, ComparisonRow
from cxredge.errors import CxredgeError
from cxredge.report import numbers
from cxredge.report.page import Block, Report, Sentences, Table
from cxredge.report.render import inert, to_html, to_markdown
from cxredge.vocabulary import NOTICE

CSV_HEADER = (
    "figure", "unit", "against", "of", "measured", "precision_before", "precision_after", "before",
    "before_ci95_low", "before_ci95_high", "after", "after_ci95_low", "after_ci95_high",
    "difference", "difference_ci95_low", "difference_ci95_high", "change", "limit", "finding",
    "not_comparable_for",
)  # fmt: skip


def write_comparison(found: Comparison, out: Path) -> None:
    """Write a comparison, whole or not at all.

    Args:
        found: What was found.
        out: The file; its extension decides the format: .html, .md or .csv.

    Raises:
        CxredgeError: The extension is another one, or ``out`` would replace another table.
    """
    suffix = out.suffix.lower()
    if suffix == ".csv":
        if out.exists() and not out.read_bytes().startswith(csv_line(CSV_HEADER).encode()):
            raise CxredgeError(
                f"{out} exists and is no comparison; it is not replaced.", "Choose another --out."
            )
        text = _csv(found)
    elif suffix == ".html":
        text = to_html(_report(found))
    elif suffix == ".md":
        text = to_markdown(_report(found))
    else:
        raise CxredgeError(
            f"A comparison is written as .html, .md or .csv; got '{out.name}'.",
            "Use --out comparison.html",
        )
    write_text(out, text.encode("utf-8", "replace").decode("utf-8"))


def _report(found: Comparison) -> Report:
    blocks: list[Block] = []
    for group in dict.fromkeys(map(_group, found.rows)):
        blocks.append(_table(", ".join(filter(None, group)), found.rows, group))
    doubts = tuple(dict.fromkeys(f"{doubt}." for row in found.rows for doubt in row.doubts))
    if doubts:
        blocks.append(Sentences("What the results say against themselves", doubts))
    if found.not_compared:
        lines = tuple(f"{reason}." for reason in found.not_compared)
        blocks.append(Sentences("Not compared, for want of a counterpart", lines))
    regressed = dict.fromkeys(f"{_name(r)} of {r.of}" for r in found.rows if r.regression)
    worse = [f"Worse beyond noise and limit: {', '.join(regressed)}."] if regressed else []
    unlike = dict.fromkeys(reason for row in found.rows for reason in row.unlike)
    return Report(
        title=f"Compared with {found.against}",
        notice=NOTICE,
        notes=(),
        warnings=(*worse, *(f"Not comparable: {reason}." for reason in unlike)),
        comparison=tuple(blocks),
        chapters=(),
        version=__version__,
    )


def _group(row: ComparisonRow) -> tuple[str, str, str]:
    """Return what rows of one table have in common, in words."""
    precisions = " to ".join(dict.fromkeys(p.upper() for p in row.precisions if p))
    return (row.of, row.what, precisions)


def _table(title: str, rows: Sequence[ComparisonRow], group: tuple[str, str, str]) -> Table:
    return Table(
        title,
        ("figure", "before", "after", "difference", "limit", "finding"),
        tuple(_cells(row) for row in rows if _group(row) == group),
        "In brackets: 95% intervals. A difference is beyond the noise when its interval, recovered "
        "from those of both figures as if they were independent, excludes zero. Latencies differ "
        "by a share of the first, shares of images in points.",
    )


def _cells(row: ComparisonRow) -> tuple[str, ...]:
    return (
        _name(row),
        numbers.in_unit(row.before, row.unit),
        numbers.in_unit(row.after, row.unit),
        numbers.signed_in_unit(row.difference, row.difference_ci95, row.before, row.unit),
        "none" if row.limit is None else f"{row.limit:g}",
        row.finding.value,
    )


def _name(row: ComparisonRow) -> str:
    return row.metric.removesuffix("_ms").replace("_", " ")


def _csv(found: Comparison) -> str:
    nothing = (None, None)
    rows = [
        (
            row.metric, row.unit, found.against, row.of, row.what, *row.precisions,
            row.before, *(row.before_ci95 or nothing), row.after, *(row.after_ci95 or nothing),
            row.difference, *(row.difference_ci95 or nothing), row.change, row.limit,
            row.finding.value, "; ".join(row.unlike),
        )
        for row in found.rows
    ]  # fmt: skip
    return "".join(csv_line([inert(cell) for cell in row]) for row in (CSV_HEADER, *rows))
