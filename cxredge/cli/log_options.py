"""The options of ``cxredge train`` for programs that track experiments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cxredge.errors import CxredgeError
from cxredge.vocabulary import Tracker

if TYPE_CHECKING:
    from cxredge.training.tracking import TrackingConfig


@dataclass(frozen=True)
class LogOptions:
    """Logs for programs that track experiments."""

    logger: Annotated[
        list[Tracker] | None,
        typer.Option(
            "--logger",
            help="Also log to this program (extras 'tensorboard' and 'mlflow'); repeatable. "
            "[default: none]",
        ),
    ] = None
    log_dir: Annotated[
        Path | None,
        typer.Option(
            "--log-dir",
            help="Folder of TensorBoard's logs. [default: 'tensorboard' beside --out]",
        ),
    ] = None
    tracking_uri: Annotated[
        str | None,
        typer.Option(
            "--tracking-uri",
            help="Address of MLflow's database or server; http:// and https:// use the network. "
            "[default: mlflow.db beside --out]",
        ),
    ] = None

    def tracking(self) -> TrackingConfig | None:
        """Return the settings of the logs; None without a logger.

        Raises:
            CxredgeError: An option lacks its logger.
        """
        from cxredge.training.tracking import TrackingConfig

        chosen = tuple(self.logger or ())
        for option, value, needed in (
            ("--log-dir", self.log_dir, Tracker.TENSORBOARD),
            ("--tracking-uri", self.tracking_uri, Tracker.MLFLOW),
        ):
            if value is not None and needed not in chosen:
                raise CxredgeError(
                    f"{option} is used by --logger {needed.value}, which is missing.",
                    f"Add --logger {needed.value}, or leave out {option}.",
                )
        return TrackingConfig(chosen, self.log_dir, self.tracking_uri) if chosen else None
