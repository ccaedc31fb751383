"""Logs for TensorBoard and MLflow, read back with their own readers."""

from __future__ import annotations

import csv
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the train extra")

from cxredge.artifacts.run_card import RunCard
from cxredge.cli.log_options import LogOptions
from cxredge.data.manifest import Manifest
from cxredge.errors import CxredgeError
from cxredge.training import run as run_module
from cxredge.training import tracking as tracking_module
from cxredge.training.config import TrainConfig, TrainingHardware
from cxredge.training.run import train
from cxredge.training.tracking import Tracking, TrackingConfig
from cxredge.vocabulary import Tracker
from tests.training.conftest import Listener

pytestmark = pytest.mark.train

CPU = TrainingHardware(accelerator="cpu")
COLUMNS = ("train_loss", "val_loss", "val_accuracy", "learning_rate", "seconds")
INSTALLED = {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy")}
TRACKERS = [
    pytest.param(
        tracker,
        marks=[
            pytest.mark.skipif(
                not all(map(find_spec, INSTALLED[tracker.value])),
                reason=f"needs the extra '{tracker.value}'",
            ),
            # MLflow creates its database in about ten seconds.
            *([pytest.mark.slow] if tracker is Tracker.MLFLOW else []),
        ],
    )
    for tracker in Tracker
]


def history(out: Path) -> dict[str, list[tuple[int, float]]]:
    with (out / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {
        c: [(int(r["epoch"]), pytest.approx(float(r[c]), abs=1e-6)) for r in rows] for c in COLUMNS
    }


def read_tensorboard(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    found = EventAccumulator(str(folder))
    found.Reload()
    scalars = {
        tag: [(event.step, event.value) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }
    start = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    params = plugin_data_pb2.HParamsPluginData.FromString(start).session_start_info.hparams
    return scalars, {name: value.string_value for name, value in params.items()}


def read_mlflow(database: Path) -> tuple[dict[str, Any], dict[str, str]]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{database}")
    (run,) = client.search_runs([client.get_experiment_by_name("cxredge").experiment_id])
    assert (run.info.run_name, run.info.status) == ("out", "FINISHED")
    scalars = {
        name: [
            (metric.step, metric.value)
            for metric in client.get_metric_history(run.info.run_id, name)
        ]
        for name in run.data.metrics
    }
    return scalars, run.data.params


def read(tracker: Tracker, folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    if tracker is Tracker.MLFLOW:
        return read_mlflow(folder / "mlflow.db")
    return read_tensorboard(folder / "tensorboard" / "out")


Logged = Callable[[TrackingConfig], RunCard]


@pytest.fixture
def logged(few: Manifest, settings: TrainConfig, tmp_path: Path, listener: Listener) -> Logged:
    """Train into ``out`` of the test's folder with further logs."""
    return lambda tracking: train(few, settings, CPU, tmp_path / "out", listener, tracking=tracking)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Replace what opens MLflow's log, whether or not it is installed."""

    def replace_by(function: Callable[..., Any]) -> None:
        monkeypatch.setattr(tracking_module, "_require", lambda _: None)
        monkeypatch.setattr(tracking_module, "_OPEN", {Tracker.MLFLOW: function})

    return replace_by


class Stop(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("tracker", TRACKERS)
def test_the_log_of_a_resumed_training_is_its_history(
    tracker: Tracker,
    logged: Logged,
    few: Manifest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    listener: Listener,
) -> None:
    out, tracking = tmp_path / "out", TrackingConfig([tracker])
    real = Tracking.epochs

    def stop_after_the_second(self: Tracking, done: Any) -> None:
        real(self, done)
        if len(done) == 2:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(Tracking, "epochs", stop_after_the_second)
        with pytest.raises(Stop):
            logged(tracking)
    card = logged(tracking)
    scalars, params = read(tracker, tmp_path)
    expected = history(out)
    assert {name: scalars[name] for name in COLUMNS if name != "seconds"} == {
        name: rows for name, rows in expected.items() if name != "seconds"
    }
    assert [step for step, _ in scalars["seconds"]] == [1, 2, 3]
    assert scalars["test_accuracy"][0][1] == pytest.approx(card.facts.test.accuracy)
    assert scalars["test_macro_f1"][0][1] == pytest.approx(card.facts.test.macro_f1)
    assert params["manifest_sha256"] == few.sha256
    assert params["network"] == "mobilenet_v1"
    words = " ".join(map(str, params.values()))
    assert str(tmp_path) not in words
    assert not any(e.patient in words or Path(e.path).name in words for e in few.entries)
    logged(tracking)
    assert "Nothing is logged: --logger logs a training while it runs." in listener.notes


class Fails:
    """Logger that fails for the first calls."""

    def __init__(self, failures: int) -> None:
        self.failures, self.rows, self.params = failures, [], {}

    def log_metrics(self, metrics: Any, step: int) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise OSError("no space left")
        self.rows.append(step)

    def log_hyperparams(self, params: Any, metrics: Any) -> None:
        self.params = params

    def save(self) -> None:
        pass

    def finalize(self, status: str) -> None:
        pass


@pytest.mark.parametrize(("failures", "rows"), [(1, [1, 2, 3]), (99, [])])
def test_a_failing_log_does_not_end_the_training(
    failures: int, rows: list[int], logged: Logged, opened: Any, tmp_path: Path, listener: Listener
) -> None:
    logger = Fails(failures)
    opened(lambda *_: logger)
    logged(TrackingConfig([Tracker.MLFLOW]))
    warned = [note for note in listener.notes if note.startswith("Warning: mlflow")]
    assert len(warned) == (1 if rows else 2)
    assert "no space left" in warned[0]
    assert logger.rows == rows
    assert bool(logger.params) == bool(rows)
    assert (tmp_path / "out" / "card.json").is_file()


@pytest.mark.parametrize("tracker", list(Tracker))
def test_a_missing_extra_names_its_install_line(
    tracker: Tracker, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking_module, "find_spec", lambda _: None)
    monkeypatch.setattr(run_module, "load_images", None)
    with pytest.raises(CxredgeError, match=tracker.value) as raised:
        logged(TrackingConfig([tracker]))
    assert raised.value.hint == f"Install it: pip install 'cxredge[{tracker.value}]'"


def test_a_log_that_cannot_be_opened_is_an_error_before_training(
    logged: Logged, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("no such server\nsecond line")

    opened(refuse)
    monkeypatch.setattr(run_module, "load_images", None)
    with pytest.raises(CxredgeError, match="mlflow cannot be opened: no such server Check"):
        logged(TrackingConfig([Tracker.MLFLOW]))


def test_options() -> None:
    assert LogOptions().tracking() is None
    assert LogOptions([Tracker.TENSORBOARD], Path("logs")).tracking() == TrackingConfig(
        (Tracker.TENSORBOARD,), Path("logs")
    )
    with pytest.raises(CxredgeError, match="--log-dir is used by --logger tensorboard"):
        LogOptions([Tracker.MLFLOW], Path("logs")).tracking()
    with pytest.raises(CxredgeError, match="--tracking-uri is used by --logger mlflow"):
        LogOptions(tracking_uri="http://localhost").tracking()
