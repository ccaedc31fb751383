"""Options of TensorRT engines, which ``build`` and ``deploy`` share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cxredge.build.engines import EngineOptions


@dataclass(frozen=True)
class TensorRTOptions:
    """Options of engines; None for the default of the bundle, the board or TensorRT."""

    batch: Annotated[
        str | None,
        typer.Option(
            "--batch",
            metavar="N,N",
            help="TensorRT: batch sizes to optimise for; the last is the largest that the engine "
            "accepts. [default: 1,8]",
            show_default=False,
        ),
    ] = None
    optimization_level: Annotated[
        int | None,
        typer.Option(
            "--optimization-level",
            help="TensorRT 8.6 or newer: 0 builds fastest, 5 yields the fastest engine. "
            "[default: 3]",
            show_default=False,
        ),
    ] = None
    workspace_mb: Annotated[
        int | None,
        typer.Option(
            "--workspace-mb",
            help="TensorRT: maximum workspace memory per layer, in MB. [default: a quarter of the "
            "board's memory]",
            show_default=False,
        ),
    ] = None
    version_compatible: Annotated[
        bool | None,
        typer.Option(
            "--version-compatible/--no-version-compatible",
            help="TensorRT 8.6 or newer: let newer versions load the engine, which makes it "
            "slower.",
            show_default=False,
        ),
    ] = None

    def engine_options(self, calibration: Path | None = None) -> EngineOptions:
        """Return the options of the build.

        Args:
            calibration: List of images for TensorRT's own calibrator.

        Raises:
            typer.BadParameter: ``--batch`` is not a list of numbers.
        """
        from cxredge.build.engines import EngineOptions

        batches = None if self.batch is None else _batches(self.batch)
        return EngineOptions(
            batches,
            self.workspace_mb,
            self.optimization_level,
            self.version_compatible,
            calibration,
        )


ComputeCapabilityOption = Annotated[
    str | None,
    typer.Option(
        "--compute-capability",
        metavar="N.N,N.N",
        help="Target rtx: build engines for GPUs of these compute capabilities now, with or "
        "without a GPU; 'all' for every supported one.",
    ),
]
LegacyCalibrationOption = Annotated[
    Path | None,
    typer.Option(
        "--legacy-calibration",
        help="TensorRT 10 or older: calibrate INT8 with TensorRT's own entropy calibrator on this "
        "list from 'cxredge calibrate', instead of using the INT8 model of the bundle.",
    ),
]


def capabilities(text: str | None) -> tuple[str, ...]:
    """Return the compute capabilities of an option without duplicates; empty if it is missing."""
    return tuple(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))


def _batches(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"'{text}' is not a list of numbers such as 1,8.", param_hint="--batch"
        ) from None
