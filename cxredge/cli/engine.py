"""What may be asked of TensorRT engines, as options of ``cxredge build``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

BatchOption = Annotated[
    str | None,
    typer.Option(
        "--batch",
        metavar="N,N",
        help="TensorRT: batch sizes that shall be fast, the last the largest that can run. "
        "[default: 1,8]",
        show_default=False,
    ),
]
OptimizationLevelOption = Annotated[
    int | None,
    typer.Option(
        "--optimization-level",
        help="TensorRT from 8.6 on: 0 builds quickly, 5 gives the fastest engine. [default: 3]",
        show_default=False,
    ),
]
WorkspaceOption = Annotated[
    int | None,
    typer.Option(
        "--workspace-mb",
        help="TensorRT: most scratch memory of a layer. [default: a quarter of a board's memory]",
        show_default=False,
    ),
]
VersionCompatibleOption = Annotated[
    bool | None,
    typer.Option(
        "--version-compatible/--no-version-compatible",
        help="TensorRT from 8.6 on: newer versions may load the engine, which is slower.",
        show_default=False,
    ),
]
ComputeCapabilityOption = Annotated[
    str | None,
    typer.Option(
        "--compute-capability",
        metavar="N.N,N.N",
        help="Target rtx: build engines for GPUs of these compute capabilities now, with or "
        "without a GPU; 'all' for every one it serves.",
    ),
]
LegacyCalibrationOption = Annotated[
    Path | None,
    typer.Option(
        "--legacy-calibration",
        help="On a device with TensorRT 10 or older: a list of 'cxredge calibrate', from which "
        "TensorRT's own entropy calibrator makes INT8 instead of taking that of the bundle.",
    ),
]


def engine_options(
    batch: str | None,
    workspace_mb: int | None,
    optimization_level: int | None,
    version_compatible: bool | None,
) -> dict[str, Any]:
    """Return the options that were named, as values of an engine's request."""
    named = {
        "batches": None if batch is None else _batches(batch),
        "workspace_mb": workspace_mb,
        "optimization_level": optimization_level,
        "version_compatible": version_compatible,
    }
    return {name: value for name, value in named.items() if value is not None}


def capabilities(text: str | None, served: tuple[str, ...]) -> tuple[str, ...]:
    """Return the compute capabilities of an option, each once; none where it was not named."""
    if text == "all":
        return served
    return tuple(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))


def _batches(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"'{text}' is no list of numbers such as 1,8.", param_hint="--batch"
        ) from None
