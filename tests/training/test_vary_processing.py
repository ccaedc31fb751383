"""Augmentation against sources: random processing of files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from cxredge.data.manifest import Manifest  # noqa: E402
from cxredge.data.phantoms import render_phantom  # noqa: E402
from cxredge.models import build_model  # noqa: E402
from cxredge.progress import Silent  # noqa: E402
from cxredge.training import vary_processing as module  # noqa: E402
from cxredge.training.assembly import load_images  # noqa: E402
from cxredge.training.batches import LiveImages  # noqa: E402
from cxredge.training.config import TrainConfig, TrainingHardware  # noqa: E402
from cxredge.training.run import train  # noqa: E402
from cxredge.training.vary_processing import vary_processing  # noqa: E402
from cxredge.vocabulary import Augmentation, FeatureCache, Split  # noqa: E402

pytestmark = pytest.mark.train

XRAY = render_phantom("normal", 0, 0, 96)


def test_a_view_of_an_image_is_always_the_same_and_others_differ() -> None:
    before = XRAY.copy()
    one = vary_processing(XRAY, 0, 1, 2)
    assert np.array_equal(one, vary_processing(XRAY, 0, 1, 2))
    for other in ((1, 1, 2), (0, 2, 2), (0, 1, 3)):
        assert not np.array_equal(one, vary_processing(XRAY, *other))
    assert np.array_equal(XRAY, before)


@pytest.mark.parametrize(
    "step", [step for _, step in module._STEPS], ids=lambda step: step.__name__
)
@pytest.mark.parametrize("shape", [(32, 32), (97, 61)])
def test_every_step_changes_an_image_and_keeps_its_shape(step, shape: tuple[int, int]) -> None:
    picture = np.resize(render_phantom("viral", 1, 0, 128), shape)
    results = [step(picture, np.random.default_rng(seed)) for seed in range(8)]
    assert {one.shape for one in results} == {shape}
    assert {one.dtype for one in results} == {np.dtype(np.uint8)}
    assert any(not np.array_equal(one, picture) for one in results)
    assert step(np.zeros(shape, np.uint8), np.random.default_rng(0)).shape == shape


def test_the_lungs_stay_where_they_are() -> None:
    """Correlation of the middle with the original; without noise and masks it is higher."""
    middle = np.s_[24:72, 24:72]
    found = [
        np.corrcoef(vary_processing(XRAY, 0, view, 0)[middle].ravel(), XRAY[middle].ravel())[0, 1]
        for view in range(40)
    ]
    assert np.median(found) > 0.9
    assert min(found) > 0.6


def test_what_a_file_tells_of_its_source_is_varied() -> None:
    """Mean grey value, border and sharpness, which differ between archives."""
    views = np.stack([vary_processing(XRAY, 0, view, 0) for view in range(60)]).astype(float)
    assert views.mean(axis=(1, 2)).std() > 8
    assert views[:, :4].mean(axis=(1, 2)).std() > 8
    sharpness = np.abs(np.diff(views[:, 24:72, 24:72], axis=2)).mean(axis=(1, 2))
    assert sharpness.max() > 2 * sharpness.min()


def test_training_images_are_processed_whatever_their_batch(
    few: Manifest, settings: TrainConfig
) -> None:
    config = replace(settings, augmentation=Augmentation.SOURCES, views=0)
    images = load_images(few, config.input_size, Silent())
    model = build_model(config.network, len(few.classes), "none")
    sources = [
        LiveImages(model, one, torch.device("cpu"), images[Split.TRAIN], images[Split.VAL])
        for one in (config, replace(config, augmentation=Augmentation.LIGHT))
    ]
    together, alone = (sources[0].training(torch.tensor(rows), 3)[0] for rows in ([0, 4], [4]))
    assert torch.equal(together[1:], alone)
    assert not torch.equal(alone, sources[1].training(torch.tensor([4]), 3)[0])


def test_features_of_processed_images_are_cached(
    few: Manifest, settings: TrainConfig, tmp_path: Path
) -> None:
    config = replace(settings, augmentation=Augmentation.SOURCES, epochs=1)
    config = replace(config, features=FeatureCache.FP32)
    facts = train(few, config, TrainingHardware("cpu"), tmp_path / "run", Silent()).facts
    assert facts.features.cached
    assert facts.features.views == 1
