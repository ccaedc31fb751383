"""Options of what a bundle returns besides probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer


@dataclass(frozen=True)
class OutputOptions:
    """Familiarity, prediction sets and heatmaps."""

    familiarity: Annotated[
        bool,
        typer.Option(
            "--familiarity/--no-familiarity",
            help="Measure how familiar an X-ray is, and refuse unfamiliar ones. Requires the "
            "training images.",
        ),
    ] = True
    familiar_share: Annotated[
        float,
        typer.Option(
            "--familiar-share",
            min=0.5,
            max=1,
            help="Share of the validation images that count as familiar.",
        ),
    ] = 0.95
    coverage: Annotated[
        float,
        typer.Option(
            "--coverage",
            min=0.5,
            max=0.999,
            help="Share of X-rays whose prediction set contains their class.",
        ),
    ] = 0.9
    heatmaps: Annotated[
        bool,
        typer.Option(
            "--heatmaps/--no-heatmaps",
            help="Return class activation maps: where the network looks.",
        ),
    ] = True

    def settings(self) -> dict[str, Any]:
        """Return the settings of a build."""
        return {
            "familiar_share": self.familiar_share if self.familiarity else None,
            "set_coverage": self.coverage,
            "heatmaps": self.heatmaps,
        }
