"""From paths to a report file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxredge import __version__
from cxredge.artifacts.card import write_text
from cxredge.artifacts.csv_text import csv_line
from cxredge.artifacts.records import read_json_file
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.report.chapter import write_chapter
from cxredge.report.page import Report
from cxredge.report.render import CSV_HEADER, SCHEMA, to_csv, to_html, to_json, to_markdown
from cxredge.report.reported_bundle import ReportedBundle, read_bundles
from cxredge.report.side_by_side import caveats, side_by_side
from cxredge.vocabulary import NOTICE

FORMATS: dict[str, Callable[[Report], str]] = {
    ".html": to_html,
    ".md": to_markdown,
    ".csv": to_csv,
    ".json": to_json,
}


@dataclass(frozen=True)
class Written:
    """What went into a report.

    Attributes:
        bundles: Number of bundles.
        results: Number of results.
        notes: What was left out and why.
        warnings: What the report warns of, of all bundles.
    """

    bundles: int
    results: int
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def write_report(paths: Sequence[Path], out: Path, xrays: bool = True) -> Written:
    """Write a report of bundles and results, whole or not at all.

    Args:
        paths: Bundle folders and result files, at least one.
        out: The file; its extension decides the format.
        xrays: Whether the goldens' and the flipped images' pictures are in it.

    Raises:
        CxredgeError: ``out`` has an unknown extension or would replace a measurement.
        ArtifactError: A path is neither a bundle nor a whole result.
    """
    render = _renderer(out)
    bundles, notes = read_bundles(paths)
    try:
        report = make_report(bundles, notes, xrays)
        text = render(report)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise ArtifactError(
            f"A result or card lacks what a report needs ({type(error).__name__}: {error}).",
            "Measure again with this version: cxredge evaluate, cxredge bench.",
        ) from error
    # A file name may hold bytes that are not UTF-8; they must not stop the report.
    write_text(out, text.encode("utf-8", "replace").decode("utf-8"))
    return Written(
        bundles=sum(reported.bundle is not None for reported in bundles),
        results=sum(len(reported.evaluations) + len(reported.benches) for reported in bundles),
        notes=report.notes,
        warnings=tuple(
            dict.fromkeys(warning for chapter in report.chapters for warning in chapter.warnings)
        ),
    )


def make_report(
    bundles: Sequence[ReportedBundle], notes: Sequence[str], xrays: bool = True
) -> Report:
    """Return the view model that every format renders."""
    chapters = tuple(write_chapter(reported, xrays) for reported in bundles)
    title = chapters[0].title if len(chapters) == 1 else f"{len(chapters)} bundles side by side"
    return Report(
        title=title,
        notice=NOTICE,
        notes=tuple(notes),
        warnings=caveats(bundles),
        comparison=side_by_side(bundles, chapters),
        chapters=chapters,
        version=__version__,
    )


def _renderer(out: Path) -> Callable[[Report], str]:
    suffix = out.suffix.lower()
    if suffix not in FORMATS:
        raise CxredgeError(
            f"A report is written as {', '.join(FORMATS)}; got '{out.name}'.",
            "Use --out report.html",
        )
    if out.is_dir():
        raise CxredgeError(f"{out} is a folder.", "Use --out report.html")
    if suffix in (".json", ".csv") and out.exists() and not _is_report(out):
        raise CxredgeError(
            f"{out} exists and is no report; it is not replaced.", "Choose another --out."
        )
    return FORMATS[suffix]


def _is_report(path: Path) -> bool:
    if path.suffix.lower() == ".csv":
        with path.open(encoding="utf-8", errors="replace") as stream:
            return stream.readline() == csv_line(CSV_HEADER)
    try:
        value = read_json_file(path)
    except ArtifactError:
        return False
    schema = value.get("schema") if isinstance(value, dict) else None
    return str(schema).startswith(SCHEMA.rpartition("/")[0])
