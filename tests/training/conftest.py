"""Fixtures for the tests of training: a few images, short settings and a progress listener."""

from __future__ import annotations

import pytest

from cxredge.data.manifest import Manifest, write_manifest
from cxredge.progress import Silent
from cxredge.training.config import TrainConfig
from cxredge.vocabulary import CLASS_SPLITS, Augmentation


class Listener(Silent):
    """Progress listener that records notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture(scope="module")
def few(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    kept = [e for split in CLASS_SPLITS for e in manifest.of(split)[::3]]
    return write_manifest(tmp_path_factory.mktemp("few") / "manifest.csv", kept)


@pytest.fixture
def settings() -> TrainConfig:
    return TrainConfig(
        network="mobilenet_v1", weights="none", freeze="paper", epochs=3, patience=9, batch_size=8,
        learning_rate=1e-3, backbone_rate=0.3, weight_decay=0.05, label_smoothing=0.1, dropout=0.1,
        average_decay=0.9,
        augmentation=Augmentation.LIGHT, balance=True, seed=0, input_size=32, mean=0.5, std=0.5,
        views=2,
    )  # fmt: skip
