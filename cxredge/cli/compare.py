"""``cxredge compare``: results side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxredge.cli.command import command
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import table


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "compare")(compare)


def compare(
    output: Output,
    first: Annotated[Path, typer.Argument(metavar="A", help="A bundle or a result file.")],
    others: Annotated[list[Path], typer.Argument(metavar="B...", help="Held against A.")],
    limit: Annotated[
        float, typer.Option("--limit", min=0, help="Relative loss that counts as a regression.")
    ] = 0.05,
) -> Outcome:
    """Compare accuracy and latency of bundles or results with those of A.

    Exits 3 when a figure is worse by more than the limit and by more than its 95% intervals allow.
    """
    from cxredge.comparison import compare as stage
    from cxredge.comparison import read_side
    from cxredge.errors import ArtifactError, GateRefused

    rows = stage(read_side(first), [read_side(path) for path in others], limit)
    if not rows:
        raise ArtifactError(
            "The results have nothing in common: no evaluation of the same images and no "
            "benchmark of the same scenario.",
            "Evaluate or bench both in the same way.",
        )
    data = {"against": str(first), "rows": rows, "regressions": sum(r["regression"] for r in rows)}
    cells = [
        [
            row["metric"],
            row["of"],
            f"{row['before']:.4g}",
            f"{row['after']:.4g}",
            f"{row['change']:+.1%}",
            "regression" if row["regression"] else "yes" if row["exceeds_noise"] else "no",
        ]
        for row in rows
    ]
    text = table(["figure", "of", "A", "B", "change", "beyond noise"], cells)
    doubts = sorted({doubt for row in rows for doubt in row["doubts"]})
    text += "".join(f"\nDoubt: {doubt}" for doubt in doubts)
    if data["regressions"]:
        output.note(text)
        raise GateRefused(
            f"{data['regressions']} figures are worse than {first} by more than {limit:.0%}.",
            "",
            data,
        )
    return Outcome(data, text)
