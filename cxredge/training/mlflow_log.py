"""A log of a training in MLflow, as one of Lightning Fabric's loggers."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import Logger

_EXPERIMENT = "cxredge"
_KEY_TAG = "cxredge.stage_key"
# MLflow would wait for a server for up to a quarter of an hour, per epoch.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


def default_uri(folder: Path) -> str:
    """Return the address of the database in a folder."""
    return f"sqlite:///{folder.resolve() / 'mlflow.db'}"


class MlflowLogger(Logger):
    """One run of MLflow; an unfinished one of the same name and key is continued.

    Args:
        uri: Address of the database or server. Environment variables do not replace it.
        name: Name of the run.
        key: Key of the training: of its images, settings and versions.
    """

    def __init__(self, uri: str, name: str, key: str) -> None:
        for variable, value in _PATIENCE.items():
            os.environ.setdefault(variable, value)
        import mlflow

        for library in ("mlflow", "alembic"):
            logging.getLogger(library).setLevel(logging.WARNING)
        self._client = mlflow.MlflowClient(tracking_uri=uri)
        self._name = name
        self._run = self._find(key) or self._create(key)

    @property
    def name(self) -> str:
        """The name of the run."""
        return self._name

    @property
    def version(self) -> str:
        """The identifier of the run."""
        return self._run

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record metrics of a step, unless it was recorded before."""
        for name, value in metrics.items():
            known = self._client.get_metric_history(self._run, name)
            if step not in {metric.step for metric in known}:
                self._client.log_metric(self._run, name, value, step=step)

    def log_hyperparams(self, params: Any, *metrics: Mapping[str, float], **_: Any) -> None:
        """Record settings, and the metrics of the finished training."""
        for name, value in params.items():
            self._client.log_param(self._run, name, value)
        for values in metrics:
            self.log_metrics(values, 0)

    def finalize(self, status: str) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run)

    def _find(self, key: str) -> str | None:
        experiment = self._client.get_experiment_by_name(_EXPERIMENT)
        if experiment is None:
            return None
        found = self._client.search_runs(
            [experiment.experiment_id],
            f"tags.`{_KEY_TAG}` = '{key}' and attributes.status = 'RUNNING'",
        )
        names = {run.info.run_name: run.info.run_id for run in found}
        identifier: str | None = names.get(self._name)
        return identifier

    def _create(self, key: str) -> str:
        experiment = self._client.get_experiment_by_name(_EXPERIMENT)
        number = (
            self._client.create_experiment(_EXPERIMENT)
            if experiment is None
            else experiment.experiment_id
        )
        run = self._client.create_run(number, run_name=self._name, tags={_KEY_TAG: key})
        identifier: str = run.info.run_id
        return identifier
