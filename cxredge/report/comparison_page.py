"""A comparison as HTML, Markdown and CSV, and as blocks of a report."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from cxredge.artifacts.atomic import write_text
from cxredge.artifacts.csv_text import csv_line
from cxredge.artifacts.output_file import check_output_file
from cxredge.comparison import Comparison, ComparisonRow
from cxredge.errors import CxredgeError
from cxredge.report import numbers
from cxredge.report.blocks import Block, Sentences, Table
from cxredge.report.page import Report
from cxredge.report.render import inert, to_html, to_markdown
from cxredge.version import __version__
from cxredge.vocabulary import NOTICE

CSV_HEADER = (
    "figure", "unit", "against", "of", "measured", "precision_before", "precision_after", "before",
    "before_ci95_low", "before_ci95_high", "after", "after_ci95_low", "after_ci95_high",
    "difference", "difference_ci95_low", "difference_ci95_high", "change", "limit", "finding",
    "not_comparable_for",
)  # fmt: skip


def without_folders(found: Comparison) -> Comparison:
    """Return a comparison whose results are named without their folders, which may name people."""
    full = dict.fromkeys([found.against, *(row.of for row in found.rows)])
    short = numbers.distinct_names([PurePath(name).name or name for name in full])
    names = dict(zip(full, short, strict=True))
    longest_first = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    whole_name = re.compile(rf"(?<![\w/.-])(?:{longest_first})(?![\w/.-])")

    def renamed(text: str) -> str:
        return whole_name.sub(lambda found: names[found[0]], text)

    rows = tuple(replace(row, of=names[row.of]) for row in found.rows)
    left = tuple(map(renamed, found.not_compared))
    return replace(found, against=names[found.against], rows=rows, not_compared=left)


def write_comparison(found: Comparison, out: Path) -> None:
    """Write a comparison to a file; on failure, nothing is written.

    Args:
        found: The comparison.
        out: The file; its extension decides the format: .html, .md or .csv.

    Raises:
        CxredgeError: The extension is another one, or ``out`` is another CSV file.
    """
    check_output_file(out)
    found, suffix = without_folders(found), out.suffix.lower()
    if suffix == ".csv":
        if out.exists() and not out.read_bytes().startswith(csv_line(CSV_HEADER).encode()):
            raise CxredgeError(
                f"{out} exists and is not a comparison; it is not replaced.",
                "Choose another --out.",
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


def comparison_tables(found: Comparison) -> list[Block]:
    """Return a table for each result set, measurement and pair of precisions."""
    return [
        _table(", ".join(filter(None, group)), found.rows, group)
        for group in dict.fromkeys(map(_group, found.rows))
    ]


def not_compared(found: Comparison) -> list[Block]:
    """Return the results that were not compared, with the reasons."""
    if not found.not_compared:
        return []
    return [Sentences("Not compared", tuple(f"{reason}." for reason in found.not_compared))]


def comparison_warnings(found: Comparison) -> tuple[str, ...]:
    """Return the regressions, and the reasons why results are not comparable."""
    regressions = dict.fromkeys(f"{_name(row)} of {row.of}" for row in found.rows if row.regression)
    worse = (
        [f"Regressions beyond noise and limit: {', '.join(regressions)}."] if regressions else []
    )
    unlike = dict.fromkeys(reason for row in found.rows for reason in row.unlike)
    return (*worse, *(f"Not comparable: {reason}." for reason in unlike))


def _report(found: Comparison) -> Report:
    blocks = comparison_tables(found)
    doubts = tuple(dict.fromkeys(f"{doubt}." for row in found.rows for doubt in row.doubts))
    if doubts:
        blocks.append(Sentences("Reservations about each result", doubts))
    return Report(
        title=f"Compared with {found.against}",
        notice=NOTICE,
        notes=(),
        warnings=comparison_warnings(found),
        comparison=(*blocks, *not_compared(found)),
        chapters=(),
        version=__version__,
    )


def _group(row: ComparisonRow) -> tuple[str, str, str]:
    """Return what the rows of one table have in common, in words."""
    precisions = " to ".join(dict.fromkeys(p.upper() for p in row.precisions if p))
    return (row.of, row.what, precisions)


def _table(title: str, rows: Sequence[ComparisonRow], group: tuple[str, str, str]) -> Table:
    return Table(
        title,
        ("metric", "before", "after", "difference", "limit", "assessment"),
        tuple(_cells(row) for row in rows if _group(row) == group),
        "In brackets: 95% intervals. A difference exceeds the noise if its interval, recovered "
        "from those of both values as if they were independent, excludes zero. Differences of "
        "latencies are relative, those of shares in percentage points.",
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
