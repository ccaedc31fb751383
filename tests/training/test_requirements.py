"""What is checked before images are decoded: devices, memory and weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra")

from cxredge.data.manifest import Manifest
from cxredge.errors import CxredgeError, DependencyError
from cxredge.models import backbones
from cxredge.progress import Silent
from cxredge.training import devices, memory
from cxredge.training.config import TrainConfig, TrainingHardware
from cxredge.training.devices import require_devices
from cxredge.training.memory import estimate_memory, require_memory
from cxredge.training.run import train
from cxredge.vocabulary import Accelerator, Augmentation, FeatureCache

pytestmark = pytest.mark.train

CONFIG = TrainConfig(
    network="mobilenet_v1", weights="none", freeze="none", epochs=3, patience=3, batch_size=16,
    learning_rate=1e-3, backbone_rate=1.0, weight_decay=0.0, label_smoothing=0.0, dropout=0.0,
    average_decay=0.0, augmentation=Augmentation.NONE, balance=True, seed=0, input_size=32,
    mean=0.5, std=0.5, views=0, features=FeatureCache.OFF,
)  # fmt: skip
CPU = TrainingHardware(accelerator="cpu")


def without(monkeypatch: pytest.MonkeyPatch, accelerator: Accelerator) -> None:
    monkeypatch.setitem(devices._COUNTS, accelerator, lambda: 0)


def test_a_missing_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, Accelerator.CUDA)
    with pytest.raises(
        DependencyError, match=r"--accelerator cuda: torch .* finds no such"
    ) as caught:
        require_devices(TrainingHardware(accelerator="cuda"))
    assert "--accelerator cpu" in caught.value.hint


def test_too_many_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(devices._COUNTS, Accelerator.CUDA, lambda: 2)
    with pytest.raises(CxredgeError, match="--devices 3: this machine has 2") as caught:
        require_devices(TrainingHardware(accelerator="cuda", devices=3))
    assert caught.value.hint == "Use --devices 2."


def test_auto_is_the_processor_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, Accelerator.CUDA)
    without(monkeypatch, Accelerator.MPS)
    assert require_devices(TrainingHardware())
    with pytest.raises(CxredgeError, match=r"Unknown accelerator 'tpu'. Known: auto, cpu"):
        require_devices(TrainingHardware(accelerator="tpu"))


def test_the_estimate_grows_with_pixels_and_trained_blocks() -> None:
    """VGG19 has few layers, and its layers have no statistics, so that shapes are quick."""
    plain = replace(CONFIG, network="vgg19")
    small, large = (estimate_memory(replace(plain, input_size=n), 4, 100) for n in (64, 128))
    assert small.images == 100 * 64 * 64
    assert large.per_image == pytest.approx(4 * small.per_image, rel=0.01)
    assert large.weights == small.weights
    # Of a convolution, its input is kept; of an activation and a pool, less or nothing more.
    first = 128 * 128 * (3 + 64 + 64) * 4
    assert large.per_image > first
    head = estimate_memory(replace(plain, input_size=128, freeze="head"), 4, 0)
    assert head.per_image < 0.01 * large.per_image


def test_the_estimate_of_a_step_is_what_torch_keeps() -> None:
    """MobileNet V1 at 224 pixels keeps 2.0 GB of 32 images, as measured on a CPU."""
    found = estimate_memory(replace(CONFIG, input_size=224), 4, 0)
    assert 32 * found.per_image == pytest.approx(2.0e9, rel=0.05)


def test_what_memory_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 8_000_000_000)
    plain = replace(CONFIG, network="vgg19", batch_size=32)
    require_memory(replace(plain, input_size=224), 4, 1500, True)
    large = replace(plain, input_size=4096)
    with pytest.raises(CxredgeError, match="vgg19 at 4096x4096 pixels in batches of 32") as caught:
        require_memory(large, 4, 100, True)
    assert "8.0 GB are available" in caught.value.message
    assert "--input-size; vgg19 has 224" in caught.value.hint
    require_memory(large, 4, 100, False)
    with pytest.raises(CxredgeError, match=r"25\.2 for 1500 decoded images\. 8\.0 GB"):
        require_memory(large, 4, 1500, False)


def test_a_batch_that_fits_is_suggested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 8_000_000_000)
    many = replace(CONFIG, network="vgg19", input_size=224, batch_size=1024)
    with pytest.raises(CxredgeError) as caught:
        require_memory(many, 4, 2000, True)
    assert caught.value.hint == "Use --batch-size 64, or a smaller --input-size."
    require_memory(replace(many, batch_size=64), 4, 2000, True)
    # A batch is not larger than the set.
    require_memory(many, 4, 60, True)


def test_no_image_is_decoded_before_the_checks(
    few: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxredge.training.run.load_images", lambda *_: pytest.fail("decoded"))
    offline = replace(CONFIG, weights="imagenet")

    def unreachable(url: str, timeout: float) -> None:
        raise ConnectionError("[Errno -3] Temporary failure in name resolution")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", unreachable)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr("timm.create_model", lambda *_, **__: pytest.fail("asked again"))
    with pytest.raises(
        CxredgeError, match=r"could not be downloaded: .* name resolution"
    ) as caught:
        train(few, offline, CPU, tmp_path / "run", Silent())
    assert "--weights FILE.safetensors" in caught.value.hint
    assert not (tmp_path / "run").exists()


def test_cached_weights_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: "model.safetensors")
    monkeypatch.setattr(
        "huggingface_hub.get_hf_file_metadata", lambda *_, **__: pytest.fail("asked")
    )
    backbones._reach_hub("timm/network")


def test_a_training_that_diverges_stops_and_keeps_its_checkpoint(
    few: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxredge.training.fit import Trainer

    losses = iter([(1.2, 0.0), (766347.0, 0.0)])
    monkeypatch.setattr(Trainer, "_train_epoch", lambda *_: next(losses))
    with pytest.raises(
        CxredgeError, match=r"diverged in epoch 2: a training loss of 7.663e\+05"
    ) as e:
        train(few, CONFIG, CPU, tmp_path / "run", Silent())
    assert "guessing has 1.39. The checkpoint of epoch 1 is kept." in e.value.message
    assert "--learning-rate 0.001" in e.value.hint
    assert (tmp_path / "run" / "checkpoint.pt").is_file()
    assert not (tmp_path / "run" / "card.json").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_validation_loss_that_is_not_finite_stops(
    value: float, few: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cxredge.training.fit import Trainer

    monkeypatch.setattr(Trainer, "_train_epoch", lambda *_: (1.2, 0.0))
    monkeypatch.setattr(Trainer, "_validate", lambda *_: (value, 0.2))
    with pytest.raises(CxredgeError, match=f"diverged in epoch 1: a validation loss of {value}"):
        train(few, CONFIG, CPU, tmp_path / "run", Silent())
    assert not (tmp_path / "run" / "card.json").exists()
