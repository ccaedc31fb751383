"""``cxredge calibrate``: choose the images on which INT8 ranges are measured."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from cxredge.cli.command import command
from cxredge.cli.options import ManifestArgument, SeedOption
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import table
from cxredge.errors import quoted


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "calibrate")(calibrate)


def calibrate(
    output: Output,
    manifest: ManifestArgument,
    out: Annotated[Path, typer.Option("--out", help="Calibration list to write, a .csv file.")],
    count: Annotated[int, typer.Option("--count", help="Number of images.", min=1)] = 256,
    seed: SeedOption = 0,
) -> Outcome:
    """Choose calibration images from the training split.

    Classes are balanced, and as many patients as possible are represented. The list contains the
    hash of every image; an image that has changed is refused later.
    """
    from cxredge.artifacts.output_file import check_output_file
    from cxredge.data.manifest import read_manifest
    from cxredge.errors import WrongUsage
    from cxredge.quantization.calibration_set import too_few_images, write_calibration

    if out.resolve() == manifest.resolve():
        raise WrongUsage(f"--out {out} would overwrite the manifest.", "Choose another --out.")
    check_output_file(out)
    calibration = write_calibration(read_manifest(manifest), count, seed, out)
    if warning := too_few_images(calibration):
        output.note(warning)
    classes = dict(sorted(Counter(entry.label for entry in calibration.entries).items()))
    data = {
        "manifest": str(out),
        "images": len(calibration.entries),
        "classes": classes,
        "patients": len({entry.patient for entry in calibration.entries}),
        "sha256": calibration.sha256,
        "warnings": [warning] if warning else [],
    }
    text = table(["class", "images"], list(classes.items())) + (
        f"\n\n{data['images']} images of {data['patients']} patients.\nWrote {out}"
    )
    return Outcome(
        data,
        text,
        f"cxredge quantize MODEL --calibration {quoted(out)} --evaluate {quoted(manifest)} --out "
        "INT8",
    )
