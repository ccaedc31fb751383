"""``cxredge build``: from a run or a model to a bundle; on the device, to an engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxredge.build.from_source import CALIBRATION_IMAGES, build_from_source
from cxredge.cli.command import command, refuse_options
from cxredge.cli.deploy import finish_delivered
from cxredge.cli.engine import (
    BatchOption,
    ComputeCapabilityOption,
    LegacyCalibrationOption,
    OptimizationLevelOption,
    VersionCompatibleOption,
    WorkspaceOption,
    capabilities,
    engine_options,
)
from cxredge.cli.gate import (
    MaxAccuracyDrop,
    MaxAurocDrop,
    MaxCalibrationErrorRise,
    MaxSensitivityDrop,
    MinAgreement,
    SpecificityOption,
    explained,
    limits_of,
)
from cxredge.cli.options import EffortOption, PublicKeyOption, SeedOption, SignWithOption
from cxredge.cli.output import Outcome, Output
from cxredge.vocabulary import Effort, PrecisionChoice, Split

if TYPE_CHECKING:
    pass

_MAKING = (
    "target", "calibration", "evaluate", "split", "max_accuracy_drop", "min_agreement",
    "max_auroc_drop", "max_sensitivity_drop", "max_calibration_error_rise", "specificity", "seed",
    "effort", "cascade", "archive", "sign_with", "compute_capability",
)  # fmt: skip
_FINISHING = ("public_key", "legacy_calibration")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "build")(build)


def build(
    output: Output,
    source: Annotated[
        Path, typer.Argument(metavar="RUN_OR_MODEL", help="A run, an FP32 model, or a bundle.")
    ],
    target: Annotated[
        str, typer.Option("--target", help="See: cxredge targets; 'here' is this machine.")
    ] = "here",
    precision: Annotated[
        PrecisionChoice,
        typer.Option("--precision", help="auto: the fastest that passes the gate."),
    ] = PrecisionChoice.AUTO,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            help=f"The list of 'cxredge calibrate'. [default: {CALIBRATION_IMAGES} training "
            "images of the run's own manifest]",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The bundle's folder. [default for a bundle: itself; for an archive: beside it]",
            show_default=False,
        ),
    ] = None,
    evaluate: Annotated[
        Path | None,
        typer.Option("--evaluate", help="Manifest for the gate. [default: the run's own]"),
    ] = None,
    split: Annotated[Split, typer.Option("--split", help="Images the gate compares on.")] = (
        Split.TEST
    ),
    max_accuracy_drop: MaxAccuracyDrop = None,
    min_agreement: MinAgreement = None,
    max_auroc_drop: MaxAurocDrop = None,
    max_sensitivity_drop: MaxSensitivityDrop = None,
    max_calibration_error_rise: MaxCalibrationErrorRise = None,
    specificity: SpecificityOption = 0.9,
    seed: SeedOption = 0,
    effort: EffortOption = Effort.DEFAULT,
    cascade: Annotated[
        bool | None,
        typer.Option(
            "--cascade/--no-cascade",
            help="Let FP32 decide near ties: images whose first two classes a reduced precision "
            "may have put in the wrong order; it has to pass the gate by itself all the same. "
            "[default: --cascade where the target runs cxredge]",
        ),
    ] = None,
    archive: Annotated[
        bool, typer.Option("--archive", help="Pack the bundle as one file too, BUNDLE.tar.")
    ] = False,
    sign_with: SignWithOption = None,
    public_key: PublicKeyOption = None,
    batch: BatchOption = None,
    optimization_level: OptimizationLevelOption = None,
    workspace_mb: WorkspaceOption = None,
    version_compatible: VersionCompatibleOption = None,
    compute_capability: ComputeCapabilityOption = None,
    legacy_calibration: LegacyCalibrationOption = None,
) -> Outcome:
    """Build a bundle: export and quantize as needed, measure, pass the gate, pack.

    Given a bundle or its archive, on the device: check where it comes from, unpack it, build its
    engines where the device takes such, replay the golden images, time the candidates here and
    choose.
    Exits 3 when a precision that was asked for does not pass the gate.
    """
    asked = dict(locals())
    from cxredge.artifacts.card import ArtifactKind
    from cxredge.build.engines import Wishes
    from cxredge.bundle.delivery import read_delivered

    card = read_delivered(source)
    named = engine_options(batch, workspace_mb, optimization_level, version_compatible)
    wishes = Wishes(named, legacy_calibration)
    if card.kind is ArtifactKind.BUNDLE:
        refuse_options(build, {n: asked[n] for n in _MAKING}, "making a bundle", f"{source} is one")
        return finish_delivered(source, card, out, public_key, precision, wishes, output)
    named_for_later = {n: asked[n] for n in _FINISHING}
    refuse_options(build, named_for_later, "finishing a bundle on its device", f"{source} is none")
    # What makes a bundle needs the package onnx, which a device may do without.
    from cxredge.artifacts.folder import check_replaceable
    from cxredge.build.engines import check_wishes
    from cxredge.build.pack import BuildConfig
    from cxredge.build.rtx_engines import check_capabilities
    from cxredge.bundle.archive import archive_of, write_archive
    from cxredge.bundle.signature import read_private_key, sign
    from cxredge.cli.built import outcome_of
    from cxredge.data.manifest import read_manifest
    from cxredge.targets.engine_request import read_request
    from cxredge.targets.registry import cascades, find_target, require_precision

    if out is None:
        raise typer.BadParameter("a folder for the bundle is needed.", param_hint="--out")
    found = find_target(target)
    require_precision(found, precision)
    check_wishes(found, wishes)
    request = read_request(named)
    ahead = capabilities(compute_capability, found.hardware.compute_capabilities)
    check_capabilities(found, ahead, request)
    key = read_private_key(sign_with) if sign_with else None
    limits = limits_of(
        {
            "max_accuracy_drop": max_accuracy_drop,
            "min_agreement": min_agreement,
            "max_auroc_drop": max_auroc_drop,
            "max_sensitivity_drop": max_sensitivity_drop,
            "max_calibration_error_rise": max_calibration_error_rise,
        }
    )
    config = BuildConfig(
        found, precision, limits, split, specificity, seed, effort, request, ahead,
        cascades(found, precision, cascade),
    )  # fmt: skip
    check_replaceable(out, ArtifactKind.BUNDLE.value)
    manifest = read_manifest(evaluate or source / "manifest.csv")
    entries = manifest.of(split)
    with explained(output, entries):
        built = build_from_source(source, card, config, manifest, calibration, out, output)
    if key:
        sign(out, key)
    packed = archive_of(out) if archive else None
    if packed:
        write_archive(out, packed)
    return outcome_of(built, entries, packed)
