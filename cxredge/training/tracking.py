"""Logs of a training for TensorBoard and MLflow, which cannot end it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cxredge.artifacts.card import StagePlan
from cxredge.artifacts.records import to_json
from cxredge.artifacts.run_card import RunFacts
from cxredge.artifacts.run_config import RunConfig
from cxredge.errors import CxredgeError, DependencyError
from cxredge.progress import Progress
from cxredge.training.history import Epoch
from cxredge.vocabulary import Tracker


@dataclass(frozen=True)
class TrackingConfig:
    """Where a training is logged; it does not affect the result.

    Attributes:
        trackers: The programs that are logged to.
        log_dir: Folder of TensorBoard's logs; None for ``tensorboard`` beside the run.
        tracking_uri: Address of MLflow's database or server; None for ``mlflow.db`` beside the run.
    """

    trackers: Sequence[Tracker] = ()
    log_dir: Path | None = None
    tracking_uri: str | None = None


class Tracking:
    """The logs of one training.

    They are written from the history, in whole after an interruption. After a failure nothing is
    logged until the end, which tries once more: a server that does not answer costs two waits.

    Args:
        loggers: Loggers of Lightning Fabric, by their program.
        params: Settings of the training.
        progress: Progress listener, told what failed.
    """

    def __init__(
        self, loggers: dict[Tracker, Any], params: dict[str, Any], progress: Progress
    ) -> None:
        self._loggers = loggers
        self._params = params
        self._progress = progress
        self._logged = dict.fromkeys(loggers, 0)
        self._failed: set[Tracker] = set()

    def epochs(self, history: Sequence[Epoch]) -> None:
        """Log the epochs that were not logged before."""
        for tracker in set(self._loggers) - self._failed:
            self._try(tracker, partial(self._epochs, tracker, history))

    def finish(self, history: Sequence[Epoch], facts: RunFacts) -> None:
        """Log what is missing, the settings and the test metrics, and close the logs."""
        low, high = facts.test.ci95
        metrics = {
            "test_accuracy": facts.test.accuracy,
            "test_accuracy_ci95_low": low,
            "test_accuracy_ci95_high": high,
            "test_macro_f1": facts.test.macro_f1,
            "best_epoch": facts.best_epoch,
        }

        def close(tracker: Tracker, logger: Any) -> None:
            self._epochs(tracker, history, logger)
            logger.log_hyperparams(self._params, metrics)
            logger.save()
            logger.finalize("success")

        for tracker in self._loggers:
            self._try(tracker, partial(close, tracker))

    def _epochs(self, tracker: Tracker, history: Sequence[Epoch], logger: Any) -> None:
        for epoch in history[self._logged[tracker] :]:
            values = {name: value for name, value in vars(epoch).items() if name != "epoch"}
            logger.log_metrics(values, epoch.epoch)
            self._logged[tracker] = epoch.epoch
        logger.save()

    def _try(self, tracker: Tracker, log: Callable[[Any], None]) -> None:
        try:
            log(self._loggers[tracker])
        # Every program and database has its own exceptions.
        except Exception as error:
            self._failed.add(tracker)
            self._progress.note(
                f"Warning: {tracker.value} could not be written: {_cause(error)}. The training "
                "goes on; history.csv has all epochs, and the log is tried again at the end."
            )


def open_tracking(
    config: TrackingConfig, out: Path, planned: StagePlan[RunConfig], progress: Progress
) -> Tracking:
    """Open the logs of a training, and continue those of an interrupted one.

    Raises:
        CxredgeError: An extra is not installed, or a log cannot be opened.
    """
    loggers = {}
    for tracker in dict.fromkeys(config.trackers):
        _require(tracker)
        try:
            loggers[tracker] = _OPEN[tracker](config, out, planned)
        except Exception as error:
            raise CxredgeError(
                f"The log for {tracker.value} cannot be opened: {_cause(error)}",
                "Check --log-dir or --tracking-uri, or train without --logger.",
            ) from None
    return Tracking(loggers, _params(planned), progress)


def _params(planned: StagePlan[RunConfig]) -> dict[str, Any]:
    """Return settings, hash of the manifest and versions: no path, no image, no patient."""
    settings = to_json(planned.config)
    nested = {name: value for name, value in settings.items() if isinstance(value, dict)}
    params = {name: value for name, value in settings.items() if name not in nested}
    for group, values in nested.items():
        params |= {f"{group}_{name}": value for name, value in values.items()}
    params |= {f"{role}_sha256": digest for role, digest in planned.parents.items()}
    params |= {f"version_{tool}": version for tool, version in planned.tools.items()}
    return {name: value for name, value in params.items() if value is not None}


def _tensorboard(config: TrackingConfig, out: Path, planned: StagePlan[RunConfig]) -> Any:
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

    root = config.log_dir or out.resolve().parent / "tensorboard"
    # The log is written again from epoch 1: purge_step makes readers drop what came before it.
    logger = TensorBoardLogger(str(root), name=out.resolve().name, version="", purge_step=1)
    logger.save()
    return logger


def _mlflow(config: TrackingConfig, out: Path, planned: StagePlan[RunConfig]) -> Any:
    from cxredge.training.mlflow_log import MlflowLogger, default_uri

    place = out.resolve()
    if config.tracking_uri is None:
        place.parent.mkdir(parents=True, exist_ok=True)
    uri = config.tracking_uri or default_uri(place.parent)
    return MlflowLogger(uri, place.name, planned.stage_key)


_OPEN = {Tracker.TENSORBOARD: _tensorboard, Tracker.MLFLOW: _mlflow}


def _require(tracker: Tracker) -> None:
    """Check that the packages of an extra, which has the tracker's name, are installed."""
    needed = {Tracker.TENSORBOARD: ["tensorboard"], Tracker.MLFLOW: ["mlflow", "sqlalchemy"]}
    for package in needed[tracker]:
        if find_spec(package) is None:
            raise DependencyError(
                f"--logger {tracker.value} requires the Python package '{package}'.",
                f"Install it: pip install 'cxredge[{tracker.value}]'",
            )


def _cause(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
