"""``cxredge quantize``: FP32 ONNX becomes INT8 ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cxredge.cli.command import command
from cxredge.cli.options import OutFolder
from cxredge.cli.output import Outcome, Output
from cxredge.cli.text import share, table
from cxredge.vocabulary import Dialect, Split


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
    bias_correction: Annotated[
        bool,
        typer.Option("--bias-correction/--no-bias-correction", help="Make up for shifted means."),
    ] = True,
) -> Outcome:
    """Quantize a model to INT8 and show what each step bought on held-out images."""
    from cxredge.data.manifest import read_manifest
    from cxredge.quantization.quantize import QuantizeConfig
    from cxredge.quantization.quantize import quantize as stage

    keep = dialect is Dialect.CPU if float_stem is None else float_stem
    config = QuantizeConfig(dialect, bias_correction, keep, split)
    card = stage(model, calibration, read_manifest(evaluate), config, out, output)
    data = {"model": str(out), "dialect": dialect.value, **card.facts}
    steps = [
        [s["step"], share(s["agreement"]), share(s["accuracy"]), f"{s['logit_error']:.4f}"]
        for s in data["steps"]
    ]
    ratio = data["size_bytes_fp32"] / data["size_bytes"]
    text = "\n".join(
        [
            table(["step", "agreement with FP32", "accuracy", "logit error"], steps),
            "",
            f"Accuracy FP32 {share(data['accuracy_fp32'])}, INT8 {share(data['accuracy_int8'])} "
            f"on {data['comparison']['images']} images; {ratio:.1f} times smaller; "
            f"{data['seconds']:.0f} s.",
            f"Wrote {out}",
        ]
    )
    return Outcome(data, text, f"cxredge inspect {out}")
