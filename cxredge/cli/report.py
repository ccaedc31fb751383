"""``cxredge report``: accuracy, latency and provenance of bundles on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxredge.cli.command import command
from cxredge.cli.output import Outcome, Output
from cxredge.errors import quoted


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "report")(report)


def report(
    output: Output,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Bundles, and results of evaluate and bench."),
    ],
    out: Annotated[Path, typer.Option("--out", help="File to write: .html, .md, .csv or .json.")],
    xrays: Annotated[
        bool,
        typer.Option(
            "--images/--no-images",
            "--xrays/--no-xrays",
            help="Show X-rays of the data set: golden images and changed decisions.",
        ),
    ] = True,
    examples: Annotated[
        Path | None,
        typer.Option(
            "--examples",
            help="Manifest or folder of X-rays: shows three that are answered right, three wrong "
            "and three refused. [default: only golden images]",
        ),
    ] = None,
) -> Outcome:
    """Write one self-contained page about bundles and their results.

    Its first pages say in plain words what the network is for, whom it was tried on, how often it
    is right, what it does with other X-rays and where it looks; accuracy, latency, data and
    provenance follow as an appendix. The report of a bundle includes all results in its results/
    folder; add results of other devices as further paths. Several bundles are compared. A page
    (.html) contains X-rays of the data set unless --no-images is given.
    """
    from cxredge.report import write_report

    written = write_report(paths, out, xrays, examples)
    for note in written.notes:
        output.note(note)
    data = {
        "report": str(out),
        "bundles": written.bundles,
        "results": written.results,
        "notes": list(written.notes),
        "warnings": list(written.warnings),
        "xrays": written.xrays,
    }
    text = f"Bundles: {written.bundles}. Results: {written.results}.\nWrote {out}"
    if written.xrays:
        text += (
            f"\nThe page contains {written.xrays} X-rays of the data set; --no-images leaves them "
            "out."
        )
    if written.bundles > 1:
        return Outcome(data, text, "cxredge compare " + " ".join(quoted(path) for path in paths))
    return Outcome(data, text, f"open {quoted(out)}")
