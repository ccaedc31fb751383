"""Writing of a report: from paths to a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxredge.artifacts.atomic import write_text
from cxredge.artifacts.csv_text import csv_line
from cxredge.artifacts.output_file import check_output_file
from cxredge.artifacts.records import read_json_file
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.report.chapter import make_chapter
from cxredge.report.example_files import check_source
from cxredge.report.page import Report
from cxredge.report.render import CSV_HEADER, SCHEMA, to_csv, to_html, to_json, to_markdown
from cxredge.report.reported_bundle import ReportedBundle, read_bundles
from cxredge.report.side_by_side import side_by_side
from cxredge.version import __version__
from cxredge.vocabulary import NOTICE

FORMATS: dict[str, Callable[[Report], str]] = {
    ".html": to_html,
    ".md": to_markdown,
    ".csv": to_csv,
    ".json": to_json,
}


_PICTURE = "data:image/png;base64,"


@dataclass(frozen=True)
class ReportSummary:
    """Contents of a report that was written.

    Attributes:
        bundles: Number of bundles.
        results: Number of results.
        notes: Results that were left out or listed separately, with the reasons.
        warnings: Warnings of all bundles.
        xrays: Number of pictures of X-rays in the file.
    """

    bundles: int
    results: int
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    xrays: int = 0


def write_report(
    paths: Sequence[Path], out: Path, xrays: bool = True, examples: Path | None = None
) -> ReportSummary:
    """Write a report of bundles and results; on failure, nothing is written.

    Args:
        paths: Bundle folders and result files, at least one.
        out: The file; its extension decides the format.
        xrays: Whether to include pictures of golden images and of changed decisions.
        examples: Manifest or folder of X-rays to choose further examples from.

    Raises:
        CxredgeError: ``out`` has an unknown extension, or is a file that is not a report; or
            ``examples`` does not exist or holds no X-rays.
        ArtifactError: A path is neither a bundle nor a result, or does not fit its record.
    """
    render = _renderer(out)
    if examples is not None:
        check_source(examples)
    bundles, notes = read_bundles(paths)
    report = make_report(bundles, notes, xrays, examples)
    text = render(report)
    # A file name may hold bytes that are not UTF-8; the report is written nevertheless.
    write_text(out, text.encode("utf-8", "replace").decode("utf-8"))
    warnings = [warning for chapter in report.chapters for warning in chapter.warnings]
    return ReportSummary(
        bundles=sum(reported.bundle is not None for reported in bundles),
        results=sum(len(reported.results) for reported in bundles),
        notes=report.notes,
        warnings=tuple(dict.fromkeys(warnings)),
        xrays=text.count(_PICTURE),
    )


def make_report(
    bundles: Sequence[ReportedBundle],
    notes: Sequence[str],
    xrays: bool = True,
    examples: Path | None = None,
) -> Report:
    """Return the view model that every format renders."""
    chapters = tuple(make_chapter(reported, xrays, examples) for reported in bundles)
    title = chapters[0].title if len(chapters) == 1 else f"{len(chapters)} bundles side by side"
    comparison = side_by_side(bundles, chapters)
    return Report(
        title=title,
        notice=NOTICE,
        notes=tuple(notes),
        warnings=comparison.warnings,
        comparison=comparison.blocks,
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
    check_output_file(out)
    if suffix in (".json", ".csv") and out.exists() and not _is_report(out):
        raise CxredgeError(
            f"{out} exists and is not a report; it is not replaced.", "Choose another --out."
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
