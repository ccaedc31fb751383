"""``cxredge report``: what a bundle is and how good it is, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxredge.cli.command import command
from cxredge.cli.output import Outcome, Output


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "report")(report)


def report(
    output: Output,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Bundles, and results of evaluate and bench."),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="The file to write: .html, .md, .csv or .json.")
    ],
    xrays: Annotated[
        bool,
        typer.Option(
            "--xrays/--no-xrays", help="Show the X-rays that the bundle keeps: golden and flipped."
        ),
    ] = True,
) -> Outcome:
    """Write one self-contained page: accuracy, latency, data, warnings and provenance.

    Of a bundle all results in its results/ folder are taken; results of other devices are given
    beside it. Several bundles get a comparison.
    """
    from cxredge.report import write_report

    written = write_report(paths, out, xrays)
    for note in written.notes:
        output.note(note)
    data = {
        "report": str(out),
        "bundles": written.bundles,
        "results": written.results,
        "notes": list(written.notes),
        "warnings": list(written.warnings),
    }
    text = f"Bundles: {written.bundles}. Results: {written.results}.\nWrote {out}"
    if written.bundles > 1:
        return Outcome(data, text, "cxredge compare " + " ".join(str(path) for path in paths))
    return Outcome(data, text, f"open {out}")
