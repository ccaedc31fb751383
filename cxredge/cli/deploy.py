"""``cxredge deploy``: finish a bundle on its device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxredge.cli.command import command
from cxredge.cli.engine import LegacyCalibrationOption, TensorRTOptions
from cxredge.cli.gate import explained
from cxredge.cli.options import PrecisionOption, PublicKeyOption
from cxredge.cli.output import Outcome, Output


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "deploy")(deploy)


def deploy(
    output: Output,
    *,
    bundle: Annotated[
        Path,
        typer.Argument(metavar="BUNDLE_OR_ARCHIVE", help="A bundle's folder, or BUNDLE.tar."),
    ],
    precision: PrecisionOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Finish a copy in this folder. [default: the folder itself; for an archive, a "
            "folder beside it]",
            show_default=False,
        ),
    ] = None,
    public_key: PublicKeyOption = None,
    engine: TensorRTOptions,
    legacy_calibration: LegacyCalibrationOption = None,
) -> Outcome:
    """Finish a bundle on its device: engines, golden images, timing.

    Checks the signature if a public key is given, unpacks an archive, builds TensorRT engines if
    the target has TensorRT, runs the golden images, times the candidates and chooses the one to
    serve. Run it again after an update of the device's software.
    Exits with code 3 if golden images have different results here, or if the requested precision
    did not pass the gate.
    """
    from cxredge.build.deploy import deploy_bundle
    from cxredge.cli.build_outcome import outcome_of

    options = engine.engine_options(legacy_calibration)
    with explained(output):
        return outcome_of(deploy_bundle(bundle, out, precision, options, public_key, output))
