"""Training on two devices: the result of one, the figures of both, and one process that writes."""

from __future__ import annotations

import csv
import errno
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from safetensors.torch import load_file  # noqa: E402

from cxredge.artifacts.card import check_files, read_card  # noqa: E402
from cxredge.artifacts.run_card import RunCard, RunFacts  # noqa: E402
from cxredge.data import loading  # noqa: E402
from cxredge.data.manifest import Manifest  # noqa: E402
from cxredge.errors import DataError  # noqa: E402
from cxredge.progress import Silent  # noqa: E402
from cxredge.training import assembly, checkpoint, frozen_features, ranks  # noqa: E402
from cxredge.training import run as run_module  # noqa: E402
from cxredge.training.config import SearchConfig, TrainConfig, TrainingHardware  # noqa: E402
from cxredge.training.feature_file import CannotStoreError  # noqa: E402
from cxredge.training.run import train  # noqa: E402
from cxredge.vocabulary import FeatureCache  # noqa: E402
from tests.training.conftest import Listener  # noqa: E402
from tests.training.two_processes import in_two  # noqa: E402

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(sys.platform == "win32", reason="needs a fork server"),
]

ONE = TrainingHardware("cpu")
TWO = TrainingHardware("cpu", devices=2)
ROUNDING = 2e-4
"""Maximum difference of weights after a few epochs; those of other seeds differ by 0.1."""


def history(out: Path) -> list[dict[str, float]]:
    with (out / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [{k: float(v) for k, v in row.items() if k != "seconds"} for row in rows]


def assert_agree(one: Path, two: Path) -> None:
    """Compare two runs: figures of every epoch, weights, statistics and the card."""
    for before, after in zip(history(one), history(two), strict=True):
        assert after == pytest.approx(before, abs=ROUNDING)
    weights, others = (load_file(out / "model.safetensors") for out in (one, two))
    for name, values in weights.items():
        torch.testing.assert_close(
            others[name].float(), values.float(), rtol=2e-3, atol=ROUNDING, msg=name
        )
    facts, found = (read_card(out, RunCard).facts for out in (one, two))
    assert found.test == facts.test
    assert found.validation.accuracy == facts.validation.accuracy
    assert found.images == facts.images
    check_files(two, read_card(two, RunCard))
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}


def trained(few: Manifest, config: TrainConfig, out: Path) -> Callable[[], RunFacts]:
    return lambda: train(few, config, TWO, out, Silent()).facts


# AdamW divides by the size of a gradient, so that the rounding of one near 0 is a step of its own.
@pytest.mark.parametrize(
    ("freeze", "rate", "mixing"),
    [("paper", 1e-3, {}), ("none", 1e-5, {}), ("paper", 1e-3, {"mixup": 0.4, "cutmix": 1.0})],
)
def test_two_devices_train_what_one_does(
    few: Manifest,
    settings: TrainConfig,
    tmp_path: Path,
    freeze: str,
    rate: float,
    mixing: dict[str, float],
) -> None:
    """Batches of 9 are not even on two devices, and partners are computed by the other one."""
    config = replace(
        settings,
        batch_size=9,
        freeze=freeze,
        learning_rate=rate,
        dropout=0.4,
        epochs=2,
        features=FeatureCache.OFF,
        **mixing,
    )
    train(few, config, ONE, tmp_path / "one", Silent())
    first, second = in_two(trained(few, config, tmp_path / "two"), tmp_path)
    assert first == second
    assert_agree(tmp_path / "one", tmp_path / "two")
    assert read_card(tmp_path / "two", RunCard).config.hardware.devices == 2


def test_features_are_computed_in_shares(
    few: Manifest, settings: TrainConfig, tmp_path: Path
) -> None:
    config = replace(settings, features=FeatureCache.FP32)
    train(few, config, ONE, tmp_path / "one", Silent())
    real, written = frozen_features.write_features, []

    def count(paths: list[Path], *rest: Any) -> None:
        written.append(paths[0].name)
        real(paths, *rest)

    patches = [(frozen_features, "write_features", count)]

    def run() -> tuple[RunFacts, list[str]]:
        return train(few, config, TWO, tmp_path / "two", Silent()).facts, written

    (first, of_first), (second, of_second) = in_two(run, tmp_path, patches)
    assert first == second
    assert first.features.cached
    assert of_first == ["view0-0.features", "validation-0.features"]
    assert of_second == ["view1-0.features"]
    assert_agree(tmp_path / "one", tmp_path / "two")


def test_features_that_one_process_cannot_store_are_left_out_by_both(
    few: Manifest, settings: TrainConfig, tmp_path: Path
) -> None:
    config = replace(settings, features=FeatureCache.FP32, epochs=1)
    real, listener = frozen_features.write_features, Listener()

    def full(*arguments: Any) -> None:
        if os.environ["RANK"] == "1":
            raise CannotStoreError("Features cannot be written: No space left on device.")
        real(*arguments)

    patches = [(frozen_features, "write_features", full)]

    def run() -> tuple[bool, list[str]]:
        card = train(few, config, TWO, tmp_path / "two", listener)
        return card.facts.features.cached, listener.notes

    for cached, notes in in_two(run, tmp_path, patches):
        assert not cached
        assert "at every step: Features cannot be written" in notes[0]


def test_features_that_another_node_does_not_see_are_noted(
    few: Manifest, settings: TrainConfig, tmp_path: Path
) -> None:
    config = replace(settings, features=FeatureCache.FP32, epochs=1)
    listener, real = Listener(), frozen_features.CachedFeatures._complete

    def elsewhere(self: Any, name: str) -> bool:
        return os.environ["RANK"] == "0" and real(self, name)

    patches = [(frozen_features.CachedFeatures, "_complete", elsewhere)]

    def run() -> list[str]:
        train(few, config, TWO, tmp_path / "two", listener)
        return listener.notes

    for notes in in_two(run, tmp_path, patches):
        assert "process 1 does not see view0-0.features" in notes[0]
        assert "on a file system that all nodes share" in notes[0]


def test_a_search_runs_on_two_devices(few: Manifest, settings: TrainConfig, tmp_path: Path) -> None:
    config = replace(settings, freeze="search", search=SearchConfig(0, 1), epochs=1)
    first, second = in_two(trained(few, config, tmp_path / "two"), tmp_path)
    assert first == second
    assert [candidate.freeze for candidate in first.search] == ["head", "none"]


def test_an_image_is_decoded_by_one_process(
    few: Manifest, settings: TrainConfig, tmp_path: Path
) -> None:
    real, decoded = loading.load_entry, []

    def count(entry: Any, size: int) -> Any:
        decoded.append(str(entry.path))
        return real(entry, size)

    patches = [(loading, "load_entry", count), (assembly, "_DECODED_AT_ONCE", 2)]
    config = replace(settings, epochs=1)

    def run() -> list[str]:
        train(few, config, TWO, tmp_path / "two", Silent())
        return decoded

    first, second = in_two(run, tmp_path, patches)
    assert sorted([*first, *second]) == sorted(str(entry.path) for entry in few.entries)
    assert abs(len(first) - len(second)) <= 3


def test_the_error_of_one_process_is_that_of_all_and_is_printed_once(
    few: Manifest, settings: TrainConfig, tmp_path: Path
) -> None:
    def damaged(*_: Any) -> None:
        if os.environ["RANK"] == "1":
            raise DataError("x.png changed since the manifest was made.", "Make it again.")

    patches = [(assembly, "load_pixels", damaged)]

    def run() -> tuple[str, bool]:
        with ranks.open_ranks(TWO) as connected:
            try:
                train(few, settings, TWO, tmp_path / "two", Silent(), ranks=connected)
            except DataError as error:
                return str(error), connected.is_quiet(error)
        raise AssertionError

    message = "x.png changed since the manifest was made. Make it again."
    assert in_two(run, tmp_path, patches) == [(message, False), (message, True)]
    assert not (tmp_path / "two").exists()


def test_a_disk_that_fills_up_ends_both(
    few: Manifest, settings: TrainConfig, tmp_path: Path
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    patches = [(checkpoint, "_save", full)]
    first, second = in_two(trained(few, settings, tmp_path / "two"), tmp_path, patches)
    assert first == second
    assert "no room for the checkpoint" in first[1]


def test_another_training_into_the_same_folder_is_refused_by_both(
    few: Manifest, settings: TrainConfig, tmp_path: Path
) -> None:
    from cxredge.artifacts.exclusive import exclusive

    with exclusive(tmp_path / "two"):
        first, second = in_two(trained(few, settings, tmp_path / "two"), tmp_path)
    assert first == second
    assert "is writing" in first[1]


def test_processes_with_other_settings_are_refused(
    few: Manifest, settings: TrainConfig, tmp_path: Path
) -> None:
    def run() -> RunFacts:
        config = replace(settings, seed=int(os.environ["RANK"]))
        return train(few, config, TWO, tmp_path / "two", Silent()).facts

    first, second = in_two(run, tmp_path)
    assert first == second
    assert first[1] == "Process 1 differs from process 0 of the training: seed 0, now 1."


def test_a_batch_smaller_than_the_number_of_devices_is_refused(
    few: Manifest, settings: TrainConfig, tmp_path: Path
) -> None:
    config = replace(settings, batch_size=1)
    first, second = in_two(trained(few, config, tmp_path / "two"), tmp_path)
    assert first == second
    assert "--batch-size 1 is the number of images per step over all devices" in first[1]


def test_two_devices_resume_where_they_were_stopped(
    few: Manifest, settings: TrainConfig, tmp_path: Path
) -> None:
    real, written = run_module.write_checkpoint, []

    def stop(*arguments: Any) -> None:
        real(*arguments)
        written.append(1)
        if len(written) == 1:
            raise DataError("stopped")

    train(few, settings, ONE, tmp_path / "one", Silent())
    patches = [(run_module, "write_checkpoint", stop)]
    stopped = in_two(trained(few, settings, tmp_path / "two"), tmp_path, patches)
    assert stopped == [("DataError", "stopped")] * 2
    listener = Listener()

    def resume() -> tuple[RunFacts, list[str]]:
        return train(few, settings, TWO, tmp_path / "two", listener).facts, listener.notes

    first, second = in_two(resume, tmp_path)
    assert first == second
    assert first[1][0] == "Resuming after epoch 1 of 3."
    assert_agree(tmp_path / "one", tmp_path / "two")
    # Both know that the run is finished.
    first, second = in_two(resume, tmp_path)
    assert first == second
    assert "is up to date" in first[1][-1]


def test_training_that_diverges_ends_both(
    few: Manifest, settings: TrainConfig, tmp_path: Path
) -> None:
    config = replace(settings, learning_rate=1e30, freeze="none")
    first, second = in_two(trained(few, config, tmp_path / "two"), tmp_path)
    assert first == second
    assert "diverged in epoch 1" in first[1]


def test_weights_that_differ_end_both(few: Manifest, settings: TrainConfig, tmp_path: Path) -> None:
    """As those of a device with faulty memory would."""
    from cxredge.training.optimization import WeightAverage

    real = WeightAverage.update

    def flip(self: WeightAverage, model: torch.nn.Module) -> None:
        real(self, model)
        if os.environ["RANK"] == "1":
            self.model.state_dict()["head.bias"][0] += 1e-7

    patches = [(WeightAverage, "update", flip)]
    first, second = in_two(trained(few, settings, tmp_path / "two"), tmp_path, patches)
    assert first == second
    assert "no longer have the same weights" in first[1]


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (lambda: os._exit(0), "ended or did not answer"),
        (lambda: time.sleep(4), "within 0.03 minutes: Timed out"),
    ],
)
def test_a_process_that_ends_or_hangs_ends_the_other(
    few: Manifest,
    settings: TrainConfig,
    tmp_path: Path,
    end: Callable[[], None],
    message: str,
) -> None:
    from cxredge.training.fit import Trainer

    real = Trainer._validate

    def stop(self: Trainer) -> tuple[float, float]:
        if os.environ["RANK"] == "1":
            end()
        return real(self)

    hurried = replace(TWO, timeout_minutes=0.03)
    start = time.monotonic()
    first, _ = in_two(
        lambda: train(few, settings, hurried, tmp_path / "two", Silent()).facts,
        tmp_path,
        [(Trainer, "_validate", stop)],
    )
    assert first[0] == "CxredgeError"
    assert message in first[1]
    assert "/gloo/" not in first[1]
    assert time.monotonic() - start < 30
