"""Versions, images and an engine for the tests of building and running."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxredge.backends.tensorrt.builder import build_engine
from cxredge.backends.tensorrt.settings import EngineConfig
from cxredge.vocabulary import Precision
from tests.backends.conftest import Fake

FLAGS = ("8.5.2", "8.6.1", "10.0.1", "10.3.0", "10.7.0", "10.13.3.9", "10.16.1.11")
STRONG = ("11.0.0.114", "11.4.0.106", "rtx")


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (11, 64, 64), dtype=np.uint8)


@pytest.fixture
def plan(fake: Fake, fp32: Path, tmp_path: Path) -> Path:
    """An engine of TensorRT 10.3 for an Orin."""
    fake("10.3.0")
    path = tmp_path / "m.plan"
    build_engine(fp32, path, EngineConfig(Precision.FP32, batches=(1, 4)))
    return path
