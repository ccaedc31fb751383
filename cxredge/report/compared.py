"""A comparison as a page, as Markdown or as CSV."""

from __future__ import annotations

from pathlib import Path

from cxredge import __version__
from cxredge.artifacts import write_text
from cxredge.comparison import Comparison, Row
from cxredge.csv_text import csv_line
from cxredge.errors import CxredgeError
from cxredge.onnx_graph import NOTICE
from cxredge.report import numbers
from cxredge.report.page import Block, Report, Sentences, Table
from cxredge.report.render import inert, to_html, to_markdown

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
    for side in dict.fromkeys(row.of for row in found.rows):
        blocks.append(_table(side, [row for row in found.rows if row.of == side]))
    doubts = tuple(dict.fromkeys(doubt for row in found.rows for doubt in row.doubts))
    if doubts:
        blocks.append(Sentences("What the results say against themselves", doubts))
    unlike = dict.fromkeys(reason for row in found.rows for reason in row.unlike)
    regressed = [row.metric for row in found.rows if row.regression]
    warnings = [f"Worse beyond noise and limit: {', '.join(regressed)}."] if regressed else []
    return Report(
        title=f"Compared with {Path(found.against).name}",
        notice=NOTICE,
        notes=tuple(f"Not compared: {reason}." for reason in found.not_compared),
        warnings=(*warnings, *(f"Not comparable: {reason}." for reason in unlike)),
        comparison=tuple(blocks),
        chapters=(),
        version=__version__,
    )


def _table(side: str, rows: list[Row]) -> Table:
    return Table(
        Path(side).name,
        ("figure", "measured", "before", "after", "difference", "limit", "finding"),
        tuple(_cells(row) for row in rows),
        "In brackets: 95% intervals. A difference is beyond the noise when its interval, recovered "
        "from those of both figures as if they were independent, excludes zero. Latencies differ "
        "by a share of the first, shares of images in points.",
    )


def _cells(row: Row) -> tuple[str, ...]:
    precisions = " to ".join(dict.fromkeys(p.upper() for p in row.precisions if p))
    return (
        row.metric,
        ", ".join(filter(None, (row.what, precisions))),
        numbers.in_unit(row.before, row.unit),
        numbers.in_unit(row.after, row.unit),
        numbers.signed_in_unit(row.difference, row.difference_ci95, row.before, row.unit),
        "none" if row.limit is None else f"{row.limit:g}",
        row.finding.value,
    )


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
