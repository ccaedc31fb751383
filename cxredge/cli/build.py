"""``cxredge build``: from a run or a model to a bundle; on the device, to an engine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxredge.cli.command import command, refuse_options
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
from cxredge.vocabulary import Effort, Precision, PrecisionChoice, Split

if TYPE_CHECKING:
    from cxredge.artifacts import Card
    from cxredge.build import BuildConfig
    from cxredge.candidates import Built
    from cxredge.data.manifest import Manifest
    from cxredge.engines import Wishes

_CALIBRATION_IMAGES = 256
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
            help=f"The list of 'cxredge calibrate'. [default: {_CALIBRATION_IMAGES} training "
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
    from cxredge.artifacts import Kind
    from cxredge.delivery import read_delivered
    from cxredge.engines import Wishes

    card = read_delivered(source)
    named = engine_options(batch, workspace_mb, optimization_level, version_compatible)
    wishes = Wishes(named, legacy_calibration)
    if card.kind is Kind.BUNDLE:
        refuse_options(build, {n: asked[n] for n in _MAKING}, "making a bundle", f"{source} is one")
        return _finish(source, card, out, public_key, precision, wishes, output)
    named_for_later = {n: asked[n] for n in _FINISHING}
    refuse_options(build, named_for_later, "finishing a bundle on its device", f"{source} is none")
    # What makes a bundle needs the package onnx, which a device may do without.
    from cxredge.ahead_of_time import check_capabilities
    from cxredge.archive import archive_of, write_archive
    from cxredge.atomic import check_replaceable
    from cxredge.build import BuildConfig
    from cxredge.cli.built import outcome_of
    from cxredge.data.manifest import read_manifest
    from cxredge.engine_request import read_request
    from cxredge.engines import check_wishes
    from cxredge.signature import read_private_key, sign
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
    check_replaceable(out, Kind.BUNDLE.value)
    manifest = read_manifest(evaluate or source / "manifest.csv")
    entries = manifest.of(split)
    with explained(output, entries):
        built = _from_source(source, card, config, manifest, calibration, out, output)
    if key:
        sign(out, key)
    packed = archive_of(out) if archive else None
    if packed:
        write_archive(out, packed)
    return outcome_of(built, entries, packed)


def _finish(
    source: Path,
    card: Card,
    out: Path | None,
    public_key: Path | None,
    precision: PrecisionChoice,
    wishes: Wishes,
    output: Output,
) -> Outcome:
    """Bring a bundle to where it can be finished, and finish it."""
    from cxredge.cli.built import outcome_of
    from cxredge.delivery import deliver
    from cxredge.on_device import finish, require_here
    from cxredge.signature import check_signature, read_public_key

    require_here(card, source)
    if public_key:
        check_signature(source, read_public_key(public_key))
        output.note(f"{source} was signed with the key to {public_key}.")
    with explained(output):
        return outcome_of(finish(deliver(source, out, output), precision, output, wishes))


def _from_source(
    source: Path,
    card: Card,
    config: BuildConfig,
    manifest: Manifest,
    calibration: Path | None,
    out: Path,
    output: Output,
) -> Built:
    """Run the stages that are missing, then the build."""
    from cxredge.artifacts import CARD_NAME, Kind, sha256_of_file, up_to_date
    from cxredge.build import build as stage
    from cxredge.build import plan
    from cxredge.cli.tuning import tuning_of
    from cxredge.on_device import finish, reopen
    from cxredge.quantization.calibration_set import read_calibration, write_calibration
    from cxredge.quantization.quantize import quantize
    from cxredge.quantization.settings import QuantizeConfig
    from cxredge.targets.registry import is_here

    parents = {"source": sha256_of_file(source / CARD_NAME), "manifest": manifest.sha256}
    if calibration is not None:
        parents["calibration"] = read_calibration(calibration).sha256
    planned = plan(card, parents, config)
    if up_to_date(out, planned) is not None:
        output.note(f"{out} is up to date: same source, images, settings and versions.")
        return reopen(out, config.precision, output)
    with tempfile.TemporaryDirectory(prefix="cxredge-build-") as name:
        scratch = Path(name)
        fp32 = source
        if card.kind is Kind.RUN:
            from cxredge.export import export

            fp32 = scratch / "fp32"
            export(source, fp32, output)
        folders = {Precision.FP32: fp32}
        if Precision.FP16 in config.models:
            from cxredge.half_precision import write_fp16

            folders[Precision.FP16] = scratch / "fp16"
            write_fp16(fp32, folders[Precision.FP16])
        if Precision.INT8 in config.models:
            if calibration is None:
                calibration = scratch / "calibration.csv"
                count = min(_CALIBRATION_IMAGES, len(manifest.of(Split.TRAIN)))
                write_calibration(manifest, count, config.calibration_seed, calibration)
                output.note(f"No --calibration given: {count} training images were chosen.")
            folders[Precision.INT8] = scratch / "int8"
            settings = QuantizeConfig(
                config.target.dialect,
                config.effort,
                float_stem=config.float_stem,
                split=config.split,
                limits=config.limits,
                specificity=config.specificity,
            )
            tuning = None
            if card.kind is Kind.RUN and config.effort is Effort.EXTENSIVE:
                tuning = tuning_of(source, fp32, output)
            int8 = folders[Precision.INT8]
            quantize(fp32, calibration, manifest, settings, int8, output, tuning)
        provenance = _provenance(card)
        built = stage(folders, manifest, planned, config, provenance, out, output)
    if built.bundle.passport is None and is_here(config.target):
        output.note(f"Wrote {out}. This is its device: finishing it here.")
        return finish(out, config.precision, output)
    return built


def _provenance(card: Card) -> dict[str, Any]:
    """Return what the bundle's card repeats of the training."""
    from cxredge.artifacts import Kind

    if card.kind is not Kind.RUN:
        return {"training": None}
    return {
        "training": {
            **card.config,
            "freeze": card.facts.get("freeze", card.config["freeze"]),
            "best_epoch": card.facts["best_epoch"],
            "trainable": card.facts["trainable"],
            "validation_accuracy": card.facts["validation"]["accuracy"],
        }
    }
