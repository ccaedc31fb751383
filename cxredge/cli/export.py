"""``cxredge export``: from a run to an FP32 ONNX model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxredge.cli.command import command
from cxredge.cli.options import OutFolder
from cxredge.cli.output import Outcome, Output
from cxredge.errors import quoted


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "export")(export)


def export(
    output: Output,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run of 'cxredge train'.")],
    out: OutFolder,
) -> Outcome:
    """Export a run to FP32 ONNX and check it against torch."""
    from cxredge.artifacts.card import read_artifact
    from cxredge.artifacts.run_card import RunCard
    from cxredge.export.export import MAX_PARITY_ERROR
    from cxredge.export.export import export as stage

    card = stage(read_artifact(run, RunCard), out, output)
    data = {
        "model": str(out),
        "onnx": str(out / "model.onnx"),
        "parity_max_abs": card.facts.parity_max_abs,
        "size_bytes": card.facts.size_bytes,
        "opset": card.config.opset,
    }
    text = (
        f"Logits agree with torch within {card.facts.parity_max_abs:.1e} "
        f"(limit {MAX_PARITY_ERROR:g}); {card.facts.size_bytes / 1e6:.1f} MB.\nWrote {out}"
    )
    manifest = quoted(run / "manifest.csv")
    return Outcome(data, text, f"cxredge calibrate {manifest} --count 256 --out calibration.csv")
