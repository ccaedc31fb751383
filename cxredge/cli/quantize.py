"""``cxredge quantize``: from an FP32 to an INT8 ONNX model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxredge.cli.command import command
from cxredge.cli.gate import GateOptions, explained
from cxredge.cli.options import EffortOption, OutFolder, SplitOption
from cxredge.cli.output import Outcome, Output
from cxredge.errors import GateRefused, WrongUsage
from cxredge.vocabulary import Correction, Dialect, Effort, RangeMethod, Split

if TYPE_CHECKING:
    from cxredge.artifacts.model_card import QuantizedCard
    from cxredge.quantization.config import QuantizeConfig


@dataclass(frozen=True)
class QuantizeOptions:
    """Settings of a quantization; None for the default of the dialect and the effort."""

    dialect: Annotated[
        Dialect, typer.Option("--dialect", help="Representation of INT8: for TensorRT or for CPUs.")
    ] = Dialect.TENSORRT
    split: SplitOption = Split.TEST
    float_stem: Annotated[
        bool | None,
        typer.Option(
            "--float-stem/--no-float-stem",
            help="Keep the first, cheap layers in float. [default: only for the dialect cpu]",
        ),
    ] = None
    effort: EffortOption = Effort.DEFAULT
    range_method: Annotated[
        RangeMethod | None,
        typer.Option(
            "--range-method", help="Method for activation ranges. [default: the best of several]"
        ),
    ] = None
    equalise: Annotated[
        bool | None,
        typer.Option(
            "--equalise/--no-equalise",
            help="Equalise the ranges of channels. [default: --equalise unless --effort quick]",
        ),
    ] = None
    centre: Annotated[
        bool | None,
        typer.Option(
            "--centre/--no-centre",
            help="Also try clipped activations centred on zero, which use the whole int8 range. "
            "[default: only for the dialect tensorrt with --effort extensive]",
        ),
    ] = None
    correction: Annotated[
        Correction | None,
        typer.Option(
            "--correction",
            help="Parameters of each layer to correct for quantization errors. [default: by "
            "effort]",
        ),
    ] = None
    aim_agreement: Annotated[
        float,
        typer.Option(
            "--aim-agreement",
            min=0,
            max=1,
            help="Keep more layers in float until agreement with FP32 reaches this fraction.",
        ),
    ] = 0.99
    aim_logit_error: Annotated[
        float | None,
        typer.Option(
            "--aim-logit-error",
            min=0,
            help="Likewise, until the relative error of the logits is at most this.",
            show_default="0.02 for TensorRT, 0.03 for the CPU, 0.005 with --effort extensive",
        ),
    ] = None

    def config(self, gate: GateOptions) -> QuantizeConfig:
        """Return the settings of the stage.

        Raises:
            WrongUsage: The options contradict each other.
        """
        from cxredge.quantization.config import Goal, QuantizeConfig

        if self.centre and self.dialect is Dialect.CPU:
            raise WrongUsage(
                "uint8 has a zero point, so clipped activations use its whole range already.",
                "Leave out --centre, or use --dialect tensorrt.",
            )
        if self.centre and self.correction is Correction.NONE:
            raise WrongUsage(
                "Centred activations require corrected biases: rounded weights shift whole "
                "channels otherwise.",
                "Leave out --centre or --correction.",
            )
        goal = Goal.of(self.dialect, self.effort, self.aim_agreement, self.aim_logit_error)
        stem = self.dialect is Dialect.CPU if self.float_stem is None else self.float_stem
        return QuantizeConfig(
            self.dialect, self.effort, self.range_method, self.equalise, self.centre,
            self.correction, goal, stem, self.split, gate.limits(), gate.specificity,
        )  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    command(app, "quantize")(quantize)


def quantize(
    output: Output,
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Folder of a model from 'cxredge export'.")
    ],
    calibration: Annotated[
        Path, typer.Option("--calibration", help="Calibration list from 'cxredge calibrate'.")
    ],
    evaluate: Annotated[
        Path, typer.Option("--evaluate", help="Manifest to compare INT8 with FP32 on.")
    ],
    out: OutFolder,
    options: QuantizeOptions,
    gate: GateOptions,
    fine_tune: Annotated[
        Path | None,
        typer.Option(
            "--fine-tune",
            metavar="RUN",
            help="If the aims are not reached otherwise, fine-tune the INT8 weights on the images "
            "of this run (requires the extra 'train').",
        ),
    ] = None,
    statistics: Annotated[
        Path | None,
        typer.Option(
            "--statistics",
            metavar="DIR",
            help="Folder that caches measured activations.",
        ),
    ] = None,
) -> Outcome:
    """Quantize a model to INT8 and show what each step gains.

    Every step is compared with FP32 on validation images, the result on held-out images. Reports
    the gate's verdict. If a limit is given and INT8 does not pass the gate, exits with code 3; the
    model is written anyway, for inspection.
    """
    from cxredge.artifacts.card import read_artifact
    from cxredge.artifacts.model_card import ExportedCard
    from cxredge.artifacts.run_card import RunCard
    from cxredge.build.fine_tuning import tuning_of
    from cxredge.cli.quantize_outcome import outcome_of
    from cxredge.data.manifest import read_manifest
    from cxredge.quantization.quantize import quantize as stage

    if out.resolve() == model.resolve():
        raise WrongUsage(f"{out} is the model to quantize.", "Choose another --out.")
    config = options.config(gate)
    fp32, manifest = read_artifact(model, ExportedCard), read_manifest(evaluate)
    run = read_artifact(fine_tune, RunCard) if fine_tune else None
    tuning = tuning_of(run, fp32, output) if run else None
    card = stage(fp32, calibration, manifest, config, out, output, tuning, statistics)
    found, entries = card.facts.comparison, manifest.of(config.split)
    if gate.named and not found.passed:
        with explained(output, entries):
            raise _refusal(card, config.effort, out)
    return outcome_of(card, entries, out)


def _refusal(card: QuantizedCard, effort: Effort, out: Path) -> GateRefused:
    from cxredge.artifacts.records import to_json
    from cxredge.cli.quantize_outcome import data_of

    gate = card.facts.comparison
    more_effort = "" if effort is Effort.EXTENSIVE else ", try --effort extensive"
    return GateRefused(
        f"int8 refused by the gate: {gate.refusal}. {out} was written for inspection.",
        f"Calibrate on more images{more_effort}, or allow the loss with {gate.loosening}.",
        {**data_of(card, out), "gate": to_json(gate), "precision": "int8"},
    )
