"""``cxredge build``: from a run or a model to a bundle; on the device, to an engine."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxredge.cli.command import command
from cxredge.cli.gate import (
    MaxAccuracyDrop,
    MaxAurocDrop,
    MaxCalibrationErrorRise,
    MaxSensitivityDrop,
    MinAgreement,
    SpecificityOption,
    explained,
    gate_text,
    limits_of,
    with_paths,
)
from cxredge.cli.options import EffortOption, SeedOption
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import share, table
from cxredge.vocabulary import Effort, Precision, PrecisionChoice, Split

if TYPE_CHECKING:
    from cxredge.artifacts import Card
    from cxredge.build import BuildConfig
    from cxredge.bundle import Bundle
    from cxredge.candidates import Built
    from cxredge.data.manifest import Entry, Manifest

_CALIBRATION_IMAGES = 256


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
        Path | None, typer.Option("--out", help="The bundle's folder; not needed for a bundle.")
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
) -> Outcome:
    """Build a bundle: export and quantize as needed, measure, pass the gate, pack.

    Given a bundle, on the device: build its engines where the device takes such, replay the golden
    images, time the candidates here and choose.
    Exits 3 when a precision that was asked for does not pass the gate.
    """
    from cxredge.artifacts import Kind, check_replaceable, read_card
    from cxredge.build import BuildConfig
    from cxredge.data.manifest import read_manifest
    from cxredge.on_device import finish
    from cxredge.targets.registry import find_target, require_precision

    card = read_card(source)
    if card.kind is Kind.BUNDLE:
        with explained(output):
            return _outcome(finish(source, precision, output))
    if out is None:
        raise typer.BadParameter("a folder for the bundle is needed.", param_hint="--out")
    found = find_target(target)
    require_precision(found, precision)
    limits = limits_of(
        {
            "max_accuracy_drop": max_accuracy_drop,
            "min_agreement": min_agreement,
            "max_auroc_drop": max_auroc_drop,
            "max_sensitivity_drop": max_sensitivity_drop,
            "max_calibration_error_rise": max_calibration_error_rise,
        }
    )
    config = BuildConfig(found, precision, limits, split, specificity, seed, effort)
    check_replaceable(out)
    manifest = read_manifest(evaluate or source / "manifest.csv")
    entries = manifest.of(split)
    with explained(output, entries):
        built = _from_source(source, card, config, manifest, calibration, out, output)
    return _outcome(built, entries)


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
    from cxredge.on_device import finish, reopen
    from cxredge.quantization.calibration_set import read_calibration, write_calibration
    from cxredge.quantization.quantize import QuantizeConfig, quantize
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
        if Precision.FP16 in config.candidates:
            from cxredge.half_precision import write_fp16

            folders[Precision.FP16] = scratch / "fp16"
            write_fp16(fp32, folders[Precision.FP16])
        if Precision.INT8 in config.candidates:
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
            quantize(fp32, calibration, manifest, settings, folders[Precision.INT8], output)
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


def _finish_there(bundle: Bundle) -> str:
    """Return what is left to do on the device."""
    from cxredge.targets.registry import find_target

    target = find_target(bundle.card.config["target"])
    if target.runs_cxredge:
        return f"Nothing was timed: this is not the target. On it: cxredge build {bundle.path}"
    line = bundle.card.facts["trtexec"][bundle.precision.value]
    return f"cxredge does not run on {target.name}. On it, in {bundle.path}: {line}"


def _outcome(built: Built, entries: Sequence[Entry] = ()) -> Outcome:
    bundle = built.bundle
    candidates = [{**c, "gate": with_paths(c["gate"], entries)} for c in built.candidates]
    data = {
        "bundle": str(bundle.path),
        "target": bundle.card.config["target"],
        "backend": bundle.card.config["backend"],
        "precision": bundle.precision.value,
        "engine": str(bundle.engine),
        "gate": with_paths(built.gate.to_json(), entries),
        "candidates": candidates,
        "reason": built.reason,
        "left_out": dict(built.left_out),
        "finished_here": bundle.passport is not None,
        "trtexec": bundle.card.facts.get("trtexec"),
    }
    rows = [
        [
            c["precision"],
            f"{c['size_bytes'] / 1e6:.1f}",
            share(c["accuracy"]),
            share(c["agreement"]),
            *(f"{c['latency_ms'][p]:.2f}" if c["latency_ms"] else "-" for p in ("p50", "p90")),
            "yes" if c["passed"] else "no",
        ]
        for c in built.candidates
    ]
    header = ["precision", "MB", "accuracy", "agreement", "p50 ms", "p90 ms", "gate"]
    compared = [
        gate_text(c["gate"], c["precision"]) + "\n"
        for c in candidates
        if c["precision"] != Precision.FP32.value
    ]
    left_out = [f"{name} has no engine here: {why}" for name, why in built.left_out.items()]
    lines = [*compared, table(header, rows), "", *left_out, built.reason, f"Wrote {bundle.path}"]
    next_step = f"cxredge predict {bundle.path} FOLDER --out predictions.csv"
    if bundle.passport is None:
        lines.insert(-1, _finish_there(bundle))
    return Outcome(data, "\n".join(lines), next_step)
