"""Training on cached features is equivalent to training end to end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from safetensors.torch import load_file, save_file  # noqa: E402

from cxredge.artifacts.run_card import FeatureFacts  # noqa: E402
from cxredge.data.manifest import Manifest  # noqa: E402
from cxredge.models import build_model  # noqa: E402
from cxredge.progress import Silent  # noqa: E402
from cxredge.training import frozen_features  # noqa: E402
from cxredge.training import run as run_module  # noqa: E402
from cxredge.training.assembly import assemble, load_images  # noqa: E402
from cxredge.training.augment import draw_view, view_of  # noqa: E402
from cxredge.training.batches import normalise, scale_pixels  # noqa: E402
from cxredge.training.config import TrainConfig, TrainingHardware  # noqa: E402
from cxredge.training.feature_file import CannotStoreError, FeatureLayout, write_features  # noqa: E402
from cxredge.training.run import train  # noqa: E402
from cxredge.vocabulary import Augmentation, FeatureCache, Split  # noqa: E402

pytestmark = pytest.mark.train

CPU = TrainingHardware(accelerator="cpu")
OFF, FP16, FP32 = FeatureCache.OFF, FeatureCache.FP16, FeatureCache.FP32


def trained(few: Manifest, settings: TrainConfig, out: Path) -> dict[str, torch.Tensor]:
    train(few, settings, CPU, out, Silent())
    return load_file(out / "model.safetensors")


def lively_weights(network: str, few: Manifest, folder: Path) -> str:
    """Write random weights with measured batch norm statistics, as pretrained weights have.

    Without them, the features of different images differ by less than FP16 resolves.
    """
    torch.manual_seed(0)
    model = build_model(network, 0)
    pixels = load_images(few, 32, Silent())[Split.TRAIN].pixels
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    images = normalise(scale_pixels(torch.from_numpy(pixels)), 0.5, 0.5)
    with torch.no_grad():
        model.train()(images)
    state = {name: tensor.contiguous() for name, tensor in model.backbone.state_dict().items()}
    save_file(state, folder / "lively.safetensors")
    return str(folder / "lively.safetensors")


def distances(
    few: Manifest, whole: TrainConfig, others: list[TrainConfig], folder: Path
) -> list[float]:
    """Train once end to end and once with each other configuration.

    Returns the distance of each configuration's weights from those of end-to-end training, as a
    share of the distance that end-to-end training covered.
    """
    images = load_images(few, whole.input_size, Silent())
    starts, ends = [], []
    for number, config in enumerate((whole, *others)):
        scratch = folder / str(number)
        trainer = assemble(config, CPU, len(few.classes), images, scratch, Silent())
        assert trainer.source.facts().cached == (config.features is not OFF)
        tensors = [p for p in trainer.whole.parameters() if p.requires_grad]
        tensors += [b for n, b in trainer.whole.named_buffers() if "running" in n]
        starts.append(torch.cat([t.detach().flatten() for t in tensors]))
        for _ in range(config.epochs):
            trainer.run_epoch(lambda: None)
        ends.append(torch.cat([t.detach().flatten() for t in tensors]))
    assert all(torch.equal(start, starts[0]) for start in starts)
    went = (ends[0] - starts[0]).norm()
    return [float((end - ends[0]).norm() / went) for end in ends[1:]]


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Make FP32 results reproducible to the bit.

    With one thread, convolutions of other batch sizes round differently, and batch norm over the
    few pixels of these small images amplifies the difference to 1e-2.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("network", ["mobilenet_v1", "mobilenet_v2"])
def test_weights_equal_those_of_training_end_to_end(
    few: Manifest, settings: TrainConfig, tmp_path: Path, network: str
) -> None:
    whole = replace(settings, network=network, weights=lively_weights(network, few, tmp_path))
    whole = replace(whole, features=OFF)
    cached = [replace(whole, features=features) for features in (FP32, FP16)]
    fp32, fp16 = distances(few, whole, cached, tmp_path)
    assert fp32 < 5e-3
    assert fp16 < 0.05


def test_other_views_train_other_weights(
    few: Manifest, settings: TrainConfig, tmp_path: Path
) -> None:
    # Shows that the tolerances above are small.
    whole = replace(settings, weights=lively_weights(settings.network, few, tmp_path), features=OFF)
    (away,) = distances(few, whole, [replace(whole, views=3)], tmp_path)
    assert away > 0.3


def test_only_the_head_is_trained_on_pooled_features(
    few: Manifest, settings: TrainConfig, tmp_path: Path
) -> None:
    settings = replace(settings, freeze="head", features=FP32)
    (away,) = distances(few, replace(settings, features=OFF), [settings], tmp_path)
    assert away < 1e-4
    result = train(few, replace(settings, epochs=1), CPU, tmp_path / "run", Silent())
    assert result.facts.features.shapes == ((1024,),)


def test_the_card_states_what_was_cached_and_no_scratch_file_remains(
    few: Manifest, settings: TrainConfig, tmp_path: Path
) -> None:
    facts = train(few, replace(settings, views=5), CPU, tmp_path / "run", Silent()).facts
    features, images = facts.features, facts.images
    # No more views than epochs; 512 features of 2x2 pixels in two bytes each.
    assert features.views == 3
    assert features.bytes == (3 * images[Split.TRAIN] + images[Split.VAL]) * 512 * 2 * 2 * 2
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "card.json", "curves.svg", "history.csv", "manifest.csv", "model.safetensors",
        "training-images.json",
    }  # fmt: skip


def test_an_interrupted_run_reuses_its_features(
    few: Manifest, settings: TrainConfig, tmp_path: Path, monkeypatch
) -> None:
    whole = trained(few, settings, tmp_path / "whole")

    class Stop(Exception):  # noqa: N818
        pass

    written = []

    def write_two(paths, *rest) -> None:
        if len(written) == 2:
            raise Stop
        written.append(paths[0].name)
        write_features(paths, *rest)

    monkeypatch.setattr(frozen_features, "write_features", write_two)
    with pytest.raises(Stop):
        train(few, settings, CPU, tmp_path / "parts", Silent())
    monkeypatch.undo()
    monkeypatch.setattr(
        frozen_features, "write_features",
        lambda paths, *rest: (written.append(paths[0].name), write_features(paths, *rest)),
    )  # fmt: skip
    parts = trained(few, settings, tmp_path / "parts")
    assert written == ["view0-0.features", "view1-0.features", "validation-0.features"]
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_features_of_other_settings_are_deleted(
    few: Manifest, settings: TrainConfig, tmp_path: Path, monkeypatch
) -> None:
    class Stop(Exception):  # noqa: N818
        pass

    def stop(*_: object) -> None:
        raise Stop

    monkeypatch.setattr(run_module, "_fit", stop)
    for seed in (0, 1):
        with pytest.raises(Stop):
            train(few, replace(settings, seed=seed), CPU, tmp_path / "run", Silent())
        assert len(list((tmp_path / "run").glob("*/*/features/view0-0.features"))) == 1


@pytest.mark.parametrize(
    ("change", "hardware", "reason"),
    [
        ({"views": 0}, CPU, "draws new views"),
        ({}, replace(CPU, cache_limit_gb=0), "more than --cache-limit-gb 0"),
    ],
)
def test_features_that_cannot_be_cached_are_noted_and_the_network_is_trained_end_to_end(
    few: Manifest, settings: TrainConfig, tmp_path: Path, listener, change, hardware, reason
) -> None:
    settings = replace(settings, epochs=1, **change)
    result = train(few, settings, hardware, tmp_path / "run", listener)
    assert any(reason in note for note in listener.notes)
    assert result.facts.features == FeatureFacts(cached=False)
    whole = trained(few, replace(settings, features=OFF), tmp_path / "whole")
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(whole[name], weights[name]) for name in whole)


def test_a_full_disk_is_noted(
    few: Manifest, settings: TrainConfig, tmp_path: Path, listener, monkeypatch
) -> None:
    def full(_: object, __: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FeatureLayout, "pack", full)
    result = train(few, replace(settings, epochs=1), CPU, tmp_path / "run", listener)
    assert result.facts.features == FeatureFacts(cached=False)
    assert any("No space left on device" in note for note in listener.notes)


def test_without_frozen_blocks_there_is_no_note_about_features(
    few: Manifest, settings: TrainConfig, tmp_path: Path, listener
) -> None:
    train(few, replace(settings, freeze="none", epochs=1), CPU, tmp_path / "run", listener)
    assert len(listener.notes) == 1
    assert listener.notes[0].startswith("epoch")


def test_views_are_used_in_turn() -> None:
    assert [view_of(epoch, 3) for epoch in range(1, 8)] == [0, 1, 2, 0, 1, 2, 0]
    assert [view_of(epoch, 0) for epoch in (1, 2, 500)] == [0, 1, 499]


def test_a_view_does_not_depend_on_its_batch() -> None:
    together = draw_view(3, torch.tensor([5, 9, 2]), 1)
    assert torch.equal(together[1:2], draw_view(3, torch.tensor([9]), 1))
    assert together.unique().numel() == together.numel()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("shape", [(4, 3, 2), (6,)])
def test_features_survive_writing_and_reading(
    tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    layout = FeatureLayout(shape, dtype)
    rows = torch.randn(5, *shape).to(dtype).float()
    write_features([tmp_path / "f"], [layout], [(rows[:3],), (rows[3:],)], lambda _: None)
    assert (tmp_path / "f").stat().st_size == 5 * layout.row_bytes
    mapped = layout.map(tmp_path / "f", 5)
    some = layout.unpack(mapped[torch.tensor([4, 0])])
    assert torch.equal(some, rows[[4, 0]])
    some.zero_()
    assert torch.equal(layout.unpack(mapped[torch.arange(5)]), rows)


def test_features_beyond_the_number_format_are_refused(tmp_path: Path) -> None:
    layout = FeatureLayout((2,), torch.float16)
    with pytest.raises(CannotStoreError, match="exceed the range"):
        write_features([tmp_path / "f"], [layout], [(torch.full((1, 2), 1e6),)], lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_without_augmentation_there_is_one_view(
    few: Manifest, settings: TrainConfig, tmp_path: Path
) -> None:
    settings = replace(settings, augmentation=Augmentation.NONE, views=0, epochs=1)
    result = train(few, settings, CPU, tmp_path / "run", Silent())
    assert result.facts.features.views == 1
