"""``cxredge quantize``: FP32 ONNX becomes INT8 ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cxredge.build.fine_tuning import tuning_of
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
from cxredge.cli.options import EffortOption, OutFolder
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import share, table
from cxredge.errors import quoted
from cxredge.vocabulary import Correction, Dialect, Effort, RangeMethod, Split

if TYPE_CHECKING:
    from cxredge.gate.gate import GateResult


_FLOAT_WEIGHTS = " (weights are float32 in the file, INT8 in an engine)"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "quantize")(quantize)


def quantize(
    output: Output,
    model: Annotated[Path, typer.Argument(metavar="DIR", help="A model of 'cxredge export'.")],
    calibration: Annotated[
        Path, typer.Option("--calibration", help="The list of 'cxredge calibrate'.")
    ],
    evaluate: Annotated[
        Path, typer.Option("--evaluate", help="Manifest to compare INT8 with FP32 on.")
    ],
    out: OutFolder,
    dialect: Annotated[
        Dialect, typer.Option("--dialect", help="How INT8 is written: for TensorRT or for CPUs.")
    ] = Dialect.TENSORRT,
    split: Annotated[
        Split, typer.Option("--split", help="Which images of that manifest to compare on.")
    ] = Split.TEST,
    float_stem: Annotated[
        bool | None,
        typer.Option(
            "--float-stem/--no-float-stem",
            help="Leave the first, cheap layers in float. [default: for cpu]",
        ),
    ] = None,
    effort: EffortOption = Effort.DEFAULT,
    range_method: Annotated[
        RangeMethod | None,
        typer.Option("--range-method", help="How ranges are chosen. [default: what fits best]"),
    ] = None,
    equalise: Annotated[
        bool | None,
        typer.Option(
            "--equalise/--no-equalise",
            help="Let channels use one range alike. [default: unless quick]",
        ),
    ] = None,
    centre: Annotated[
        bool | None,
        typer.Option(
            "--centre/--no-centre",
            help="Try clipped activations around zero, where they use all of int8. "
            "[default: for tensorrt, if extensive]",
        ),
    ] = None,
    correction: Annotated[
        Correction | None,
        typer.Option(
            "--correction", help="Make up for quantization in each layer. [default: by effort]"
        ),
    ] = None,
    fine_tune: Annotated[
        Path | None,
        typer.Option(
            "--fine-tune",
            metavar="RUN",
            help="When nothing else is enough, train the INT8 weights on this run's images "
            "(needs the train extra).",
        ),
    ] = None,
    statistics: Annotated[
        Path | None,
        typer.Option(
            "--statistics",
            metavar="DIR",
            help="Keep measured activations in this folder, and use those of the same network and "
            "images again.",
        ),
    ] = None,
    aim_agreement: Annotated[
        float,
        typer.Option(
            "--aim-agreement", min=0, max=1, help="Keep layers in float until so many images agree."
        ),
    ] = 0.99,
    aim_logit_error: Annotated[
        float | None,
        typer.Option(
            "--aim-logit-error",
            min=0,
            help="And until logits move no further.",
            show_default="0.02 for TensorRT, 0.03 for the CPU, 0.005 with --effort extensive",
        ),
    ] = None,
    max_accuracy_drop: MaxAccuracyDrop = None,
    min_agreement: MinAgreement = None,
    max_auroc_drop: MaxAurocDrop = None,
    max_sensitivity_drop: MaxSensitivityDrop = None,
    max_calibration_error_rise: MaxCalibrationErrorRise = None,
    specificity: SpecificityOption = 0.9,
) -> Outcome:
    """Quantize a model to INT8 and show what each step bought on held-out images.

    The gate's verdict is told. With a limit on the command line it is binding: exits 3 when INT8
    loses more; the model is written all the same, to look into.
    """
    from cxredge.data.manifest import read_manifest
    from cxredge.errors import GateRefused, WrongUsage
    from cxredge.gate.gate import GateResult
    from cxredge.quantization.plan import Goal
    from cxredge.quantization.quantize import quantize as stage
    from cxredge.quantization.settings import QuantizeConfig

    if out.resolve() == model.resolve():
        raise WrongUsage(f"{out} is the model that is quantized.", "Choose another --out.")
    if centre and dialect is Dialect.CPU:
        raise WrongUsage(
            "uint8 has a zero point, so that clipped activations use all of it as they are.",
            "Leave out --centre, or use --dialect tensorrt.",
        )
    if centre and correction is Correction.NONE:
        raise WrongUsage(
            "Centred activations need corrected biases: rounded weights shift whole channels then.",
            "Leave out --centre or --correction.",
        )
    keep = dialect is Dialect.CPU if float_stem is None else float_stem
    named = {
        "max_accuracy_drop": max_accuracy_drop,
        "min_agreement": min_agreement,
        "max_auroc_drop": max_auroc_drop,
        "max_sensitivity_drop": max_sensitivity_drop,
        "max_calibration_error_rise": max_calibration_error_rise,
    }
    config = QuantizeConfig(
        dialect,
        effort,
        range_method,
        equalise,
        centre,
        correction,
        Goal.of(dialect, effort, aim_agreement, aim_logit_error),
        keep,
        split,
        limits_of(named),
        specificity,
    )
    manifest = read_manifest(evaluate)
    tuning = tuning_of(fine_tune, model, output) if fine_tune else None
    card = stage(model, calibration, manifest, config, out, output, tuning, statistics)
    gate = GateResult.from_json(card.facts["comparison"])
    data = {"model": str(out), "dialect": dialect.value, **card.facts}
    if not gate.passed and any(limit is not None for limit in named.values()):
        harder = "" if effort is Effort.EXTENSIVE else ", try --effort extensive"
        with explained(output, manifest.of(split)):
            raise GateRefused(
                f"int8 refused by the gate: {gate.refusal}. {out} was written all the same.",
                f"Calibrate on more images{harder}, or allow the loss with {gate.loosening}.",
                {**data, "gate": gate.to_json(), "precision": "int8"},
            )
    data["comparison"] = with_paths(gate.to_json(), manifest.of(split))
    return Outcome(data, _text(data, gate, out), f"cxredge inspect {quoted(out)}")


def _text(data: Mapping[str, Any], gate: GateResult, out: Path) -> str:
    steps = [
        [
            s["step"],
            share(s["agreement"]),
            share(s["accuracy"]),
            f"{s['logit_error']:.4f}",
            f"{s['size_bytes'] / 1e6:.1f}",
            f"{s['latency_ms_here']:.1f}",
            f"{s['seconds']:.1f}",
        ]
        for s in data["steps"]
    ]
    header = [
        f"step, on {data['judged_on']} images", "agreement", "accuracy", "logit error", "MB",
        "ms here", "s",
    ]  # fmt: skip
    worst = min(
        (one for one in data["layers"] if one["snr_db"] is not None),
        key=lambda one: one["snr_db"],
        default=None,
    )
    mb, mb_fp32 = data["size_bytes"] / 1e6, data["size_bytes_fp32"] / 1e6
    verdict = "passes the gate" if gate.passed else f"would be refused: {gate.refusal}"
    return "\n".join(
        [
            table(header, steps),
            _taken(data),
            *(
                [
                    f"Noisiest layer: {worst['name']}, {worst['snr_db']:.1f} dB; all are in "
                    f"{out / 'quantization.json'}."
                ]
                if worst
                else []
            ),
            "",
            gate_text(data["comparison"], "INT8"),
            "",
            f"INT8 {verdict}."
            + ("" if gate.passed else f" Ship {data['recommended'].upper()} instead."),
            f"Accuracy FP32 {share(data['accuracy_fp32'])}, INT8 {share(data['accuracy_int8'])} "
            f"on {data['comparison']['images']} images; {mb_fp32:.1f} MB, {mb:.1f} MB"
            f"{_FLOAT_WEIGHTS if mb > mb_fp32 / 2 else ''}; {data['seconds']:.0f} s.",
            f"Wrote {out}",
        ]
    )


def _taken(data: Mapping[str, Any]) -> str:
    fp32 = data["latency_ms_here_fp32"]
    text = (
        f"Taken: {data['chosen']}. One image takes FP32 {fp32:.1f} ms in ONNX Runtime on this "
        "machine; a device is timed on the device."
    )
    step = next(one for one in data["steps"] if one["step"] == data["chosen"])
    if data["dialect"] == Dialect.CPU.value and step["latency_ms_here"] >= fp32:
        text += "\nINT8 is no faster than FP32 here."
        if len(step["in_float"]) > len(data["steps"][0]["in_float"]):
            text += (
                " Where decisions that move a little more will do, fewer layers stay in float: "
                "--aim-logit-error 0.05"
            )
    return text
