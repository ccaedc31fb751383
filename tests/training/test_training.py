"""Training: results, interruption, determinism and errors."""

from __future__ import annotations

import copy
import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from cxredge.artifacts.card import read_artifact, read_card  # noqa: E402
from cxredge.artifacts.run_card import RunCard  # noqa: E402
from cxredge.artifacts.training_images import read_training_images  # noqa: E402
from cxredge.data.manifest import Manifest, read_manifest, write_manifest  # noqa: E402
from cxredge.errors import ArtifactError, CxredgeError  # noqa: E402
from cxredge.export.export import export  # noqa: E402
from cxredge.progress import Silent  # noqa: E402
from cxredge.training import run as run_module  # noqa: E402
from cxredge.training.assembly import assemble, load_images  # noqa: E402
from cxredge.training.augment import RANGES, augment, draw_view  # noqa: E402
from cxredge.training.config import TrainConfig, TrainingHardware  # noqa: E402
from cxredge.training.fit import Trainer  # noqa: E402
from cxredge.training.history import Epoch, best_epoch  # noqa: E402
from cxredge.training.optimization import WeightAverage, schedule  # noqa: E402
from cxredge.training.run import train  # noqa: E402
from cxredge.vocabulary import (  # noqa: E402
    CLASS_SPLITS,
    Augmentation,
    Geometry,
    Split,
    TrainingPrecision,
)

pytestmark = pytest.mark.train

CONFIG = TrainConfig(
    network="mobilenet_v1", weights="none", freeze="paper", epochs=3, patience=9, batch_size=8,
    learning_rate=1e-3, backbone_rate=0.3, weight_decay=0.05, label_smoothing=0.1, dropout=0.1,
    average_decay=0.9,
    augmentation=Augmentation.LIGHT, balance=True, seed=0, input_size=32, mean=0.5, std=0.5,
)  # fmt: skip
CPU = TrainingHardware(accelerator="cpu")
LIGHT = RANGES[Geometry.LIGHT]


@pytest.fixture(scope="module")
def few(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    kept = [e for split in CLASS_SPLITS for e in manifest.of(split)[::3]]
    return write_manifest(tmp_path_factory.mktemp("few") / "manifest.csv", kept)


def history(out: Path) -> list[dict[str, str]]:
    with (out / "history.csv").open(newline="") as stream:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(stream)]


class Stop(Exception):  # noqa: N818
    pass


def test_a_resumed_training_has_the_same_result_as_an_uninterrupted_one(
    few: Manifest, tmp_path: Path, monkeypatch
) -> None:
    whole = train(few, CONFIG, CPU, tmp_path / "whole", Silent())
    real, calls = run_module.write_checkpoint, []

    def stop_after_the_first(*arguments: object) -> None:
        real(*arguments)
        calls.append(1)
        if len(calls) == 1:
            raise Stop

    monkeypatch.setattr(run_module, "write_checkpoint", stop_after_the_first)
    with pytest.raises(Stop):
        train(few, CONFIG, CPU, tmp_path / "parts", Silent())
    assert not (tmp_path / "parts" / "card.json").exists()
    parts = train(few, CONFIG, CPU, tmp_path / "parts", Silent())
    assert len(calls) == 3
    assert history(tmp_path / "parts") == history(tmp_path / "whole")
    assert parts.files["model.safetensors"] == whole.files["model.safetensors"]
    assert not (tmp_path / "parts" / "checkpoint.pt").exists()


def test_a_finished_run_is_not_run_again(few: Manifest, tmp_path: Path, monkeypatch) -> None:
    config = replace(CONFIG, epochs=1)
    first = train(few, config, CPU, tmp_path / "run", Silent())
    monkeypatch.setattr(run_module, "_fit", lambda *_: pytest.fail("trained again"))
    assert train(few, config, CPU, tmp_path / "run", Silent()) == first
    with pytest.raises(
        ArtifactError, match=r"already holds a run made from other .*: seed 0, now 1"
    ):
        train(few, replace(config, seed=1), CPU, tmp_path / "run", Silent())


def test_the_images_of_a_run_are_listed_up_to_its_export(few: Manifest, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=1)
    (tmp_path / "key").write_text("the secret of a hospital")
    card = train(few, config, CPU, tmp_path / "run", Silent(), patient_key=tmp_path / "key")
    found = read_training_images(tmp_path / "run", card)
    assert found is not None
    train_hashes = {e.sha256[:16] for e in few.of(Split.TRAIN)}
    assert set(found.splits[Split.TRAIN].images) == train_hashes
    assert len(found.splits[Split.TRAIN].patients) == len({e.patient for e in few.of(Split.TRAIN)})
    assert found.splits.keys() == {Split.TRAIN, Split.VAL}
    exported = export(read_artifact(tmp_path / "run", RunCard), tmp_path / "model", Silent())
    assert read_training_images(tmp_path / "model", exported) == found
    # A run that starts from these weights has seen these images too.
    rest = write_manifest(
        tmp_path / "rest.csv", [*few.of(Split.TRAIN)[1:], *few.of(Split.VAL), *few.of(Split.TEST)]
    )
    again = replace(config, weights=str(tmp_path / "run" / "model.safetensors"))
    card = train(rest, again, CPU, tmp_path / "again", Silent())
    found = read_training_images(tmp_path / "again", card)
    assert found is not None
    assert set(found.splits[Split.TRAIN].images) == train_hashes


def test_an_unfinished_run_of_other_settings_is_not_resumed(
    few: Manifest, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(run_module, "write_run", lambda *_: (_ for _ in ()).throw(Stop))
    with pytest.raises(Stop):
        train(few, replace(CONFIG, epochs=1), CPU, tmp_path / "run", Silent())
    with pytest.raises(ArtifactError, match=r"unfinished run of other .*: epochs 1, now 3"):
        train(few, CONFIG, CPU, tmp_path / "run", Silent())


def test_early_stopping_counts_from_the_best_epoch(few: Manifest, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=30, patience=2, learning_rate=1e-9)
    facts = train(few, config, CPU, tmp_path / "run", Silent()).facts
    assert facts.epochs == min(30, facts.best_epoch + 2)


def test_the_kept_weights_are_those_of_the_best_epoch(few: Manifest, tmp_path: Path) -> None:
    facts = train(few, CONFIG, CPU, tmp_path / "run", Silent()).facts
    rows = history(tmp_path / "run")
    best = max(rows, key=lambda row: (float(row["val_accuracy"]), -float(row["val_loss"])))
    assert facts.best_epoch == int(best["epoch"])
    assert facts.validation.accuracy == pytest.approx(float(best["val_accuracy"]), abs=1e-6)


def test_ties_go_to_the_lower_loss() -> None:
    rows = [Epoch(1, 0, 0, 0.9, 0.8, 0), Epoch(2, 0, 0, 0.5, 0.8, 0), Epoch(3, 0, 0, 0.1, 0.7, 0)]
    assert best_epoch(rows) == 2
    assert best_epoch([]) == 0


def test_training_that_diverges_says_so(few: Manifest, tmp_path: Path) -> None:
    config = replace(CONFIG, learning_rate=1e30, freeze="none", augmentation=Augmentation.NONE)
    with pytest.raises(CxredgeError, match=r"diverged in epoch 1: a loss of .*--learning-rate"):
        train(few, config, CPU, tmp_path / "run", Silent())


def test_a_class_without_training_images_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    entries = [e for e in manifest.entries if not (e.split is Split.TRAIN and e.label == "viral")]
    lacking = write_manifest(tmp_path / "manifest.csv", entries)
    with pytest.raises(CxredgeError, match="no training images of: viral"):
        train(lacking, CONFIG, CPU, tmp_path / "run", Silent())
    assert not (tmp_path / "run").exists()


def test_the_card_records_what_affects_the_result(run_folder: Path) -> None:
    card = read_card(run_folder, RunCard)
    assert card.classifier.classes == ("bacterial", "covid19", "normal", "viral")
    assert card.config.weights == "none"
    assert card.parents["manifest"]
    assert "torch" in card.tools
    assert str(run_folder.parent) not in json.dumps(card.to_json())
    copy = read_manifest(run_folder / "manifest.csv")
    assert all(entry.path.is_file() for entry in copy.entries)


def test_schedule_warms_up_and_ends_near_zero() -> None:
    shares = [schedule(step / 1000, 10) for step in range(1000)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) == pytest.approx(1, abs=1e-3)
    assert shares.index(max(shares)) == 100
    assert shares[-1] < 1e-4


def test_augmentation_is_a_function_of_its_seed() -> None:
    images = torch.rand(4, 1, 32, 32)
    rows = torch.arange(4)
    one = augment(images, draw_view(1, rows, 0), LIGHT)
    assert torch.equal(one, augment(images, draw_view(1, rows, 0), LIGHT))
    assert not torch.equal(one, augment(images, draw_view(2, rows, 0), LIGHT))
    assert not torch.equal(one, augment(images, draw_view(1, rows, 1), LIGHT))
    assert one.shape == images.shape
    assert float(one.min()) >= 0
    assert float(one.max()) <= 1


@pytest.mark.parametrize("geometry", Geometry)
def test_augmentation_never_swaps_left_and_right(geometry: Geometry) -> None:
    half = torch.zeros(64, 1, 32, 32)
    half[..., 16:] = 1
    varied = augment(half, draw_view(0, torch.arange(64), 0), RANGES[geometry])
    means = varied.mean(dim=(1, 2))
    assert bool((means[:, -6:].mean(1) > means[:, :6].mean(1)).all())


def test_strong_geometry_moves_an_edge_farther() -> None:
    half = torch.zeros(64, 1, 32, 32)
    half[..., 16:] = 1
    draws = draw_view(0, torch.arange(64), 0)
    moved = [
        float((augment(half, draws, RANGES[geometry]) - half).abs().mean())
        for geometry in (Geometry.LIGHT, Geometry.STRONG)
    ]
    assert moved[1] > 1.5 * moved[0]


def test_the_average_follows_the_weights_with_its_decay() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(layer.weight)
    average = WeightAverage(layer, 0.75)
    values = []
    for step in (8.0, 8.0, 0.0, 0.0, 0.0, 0.0):
        torch.nn.init.constant_(layer.weight, step)
        average.update(layer)
        values.append(round(float(average.model.weight), 4))
    # The running mean of the first four steps, an exponential average with 0.75 from then on.
    assert values == [8.0, 8.0, pytest.approx(16 / 3, abs=1e-3), 4.0, 3.0, 2.25]


def test_same_seed_same_weights(few: Manifest, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=1)
    results = [train(few, config, CPU, tmp_path / name, Silent()) for name in ("a", "b")]
    other = train(few, replace(config, seed=5), CPU, tmp_path / "c", Silent())
    weights = [result.files["model.safetensors"] for result in (*results, other)]
    assert weights[0] == weights[1] != weights[2]


def test_a_device_without_memory_suggests_a_batch_size(
    few: Manifest, tmp_path: Path, monkeypatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Trainer, "run_epoch", full)
    with pytest.raises(CxredgeError, match="of 8 images: CUDA out of memory") as raised:
        train(few, replace(CONFIG, batch_size=8), CPU, tmp_path / "run", Silent())
    assert raised.value.hint is not None
    assert "--batch-size 4" in raised.value.hint


def test_bf16_leaves_depthwise_convolutions_in_float32(few: Manifest, tmp_path: Path) -> None:
    seen = set()

    def note(module: torch.nn.Conv2d, inputs: tuple, output: torch.Tensor) -> None:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            exact = torch.nn.Conv2d._conv_forward(module, inputs[0].float(), module.weight, None)
        seen.add((module.groups > 1, output.dtype, torch.equal(output, exact.to(output.dtype))))

    hardware = TrainingHardware("cpu", precision=TrainingPrecision.BF16_MIXED)
    images = load_images(few, CONFIG.input_size, Silent())
    trainer = assemble(CONFIG, hardware, len(few.classes), images, tmp_path, Silent())
    for module in trainer.whole.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(note)
    trainer.run_epoch(lambda: None)
    # The other convolutions round their weights to BF16 too, so their outputs are less exact.
    assert seen == {(True, torch.bfloat16, True), (False, torch.bfloat16, False)}
    # A copy, such as the weight average, has weights of its own.
    copied = copy.deepcopy(trainer.whole)
    assert copied.state_dict().keys() == trainer.whole.state_dict().keys()


def test_statistics_of_nasnet_follow_a_short_training(few: Manifest, tmp_path: Path) -> None:
    config = replace(CONFIG, network="nasnet_mobile", freeze="reduction_8")
    images = load_images(few, config.input_size, Silent())
    trainer = assemble(config, TrainingHardware("cpu"), 4, images, tmp_path, Silent())
    norms = [m for m in trainer.whole.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {m.momentum for m in norms if m.weight.requires_grad} == {0.1}
    assert {m.momentum for m in norms if not m.weight.requires_grad} == {3e-4}
