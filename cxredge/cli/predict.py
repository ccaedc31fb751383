"""``cxredge predict``: one row per image."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from cxredge.cli.command import command
from cxredge.cli.options import BundleArgument
from cxredge.cli.output import Outcome, Output
from cxredge.errors import Interrupted, quoted


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "predict")(predict)


def predict(
    output: Output,
    bundle: BundleArgument,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Images (PNG, JPEG, DICOM), folders and zip files."),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="File to write: .csv, .jsonl or .parquet.")
    ] = Path("predictions.csv"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted prediction.")
    ] = False,
    any_view: Annotated[
        bool,
        typer.Option(
            "--any-view",
            help="Also predict lateral and oblique DICOM views; their rows carry a caution.",
        ),
    ] = False,
) -> Outcome:
    """Predict X-rays and write one row per input, in input order.

    The row of a file that cannot be read contains the reason. Research use only.
    """
    from cxredge.bundle.bundle import open_bundle
    from cxredge.inference.predict import predict as stage
    from cxredge.inference.predict import require_some

    try:
        tally = stage(open_bundle(bundle), paths, out, resume, output, any_view)
    except KeyboardInterrupt:
        again = ["cxredge", "predict", bundle, *paths, "--out", out, "--resume"]
        again += ["--any-view"] if any_view else []
        raise Interrupted(
            "Interrupted; the rows so far are kept.",
            f"Resume with: {shlex.join(str(word) for word in again)}",
        ) from None
    require_some(tally, out)
    data = {"predictions": str(out), **tally.to_json()}
    lines = [
        f"{data['ok']} of {data['images']} images predicted in {data['seconds']:.1f} s "
        f"({data['images_per_second']:.0f} per second).",
        f"Wrote {out}",
    ]
    if data["failed"]:
        lines.insert(1, f"{data['failed']} could not be read; the first: {tally.first_error}")
    if data["near_ties"]:
        lines.insert(-1, f"Near ties that FP32 decided: {data['near_ties']}.")
    if data["cautions"]:
        doubts = ", ".join(f"{n} {doubt}" for doubt, n in sorted(data["cautions"].items()))
        lines.insert(-1, f"Predicted, with doubts from the DICOM header: {doubts}.")
    if data["skipped"]:
        kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(data["skipped"].items()))
        lines.insert(-1, f"Skipped, not images by their names: {kinds}.")
    return Outcome(data, "\n".join(lines), f"cxredge evaluate {quoted(bundle)} MANIFEST")
