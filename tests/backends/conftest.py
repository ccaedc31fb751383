"""A small network in the forms that TensorRT takes, and a TensorRT to give it to."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from cxredge.backends.cuda import driver, memory
from cxredge.backends.tensorrt import builder, session
from cxredge.data.loading import load_pixels
from cxredge.data.manifest import Manifest
from cxredge.export.half_precision import to_fp16
from cxredge.quantization.qdq.emit import emit
from cxredge.quantization.ranges.measure import measure_ranges
from cxredge.vocabulary import Dialect, Split
from tests.backends import fake_tensorrt
from tests.backends.fake_cuda import FakeDriver, FakeGpu, FakeLibrary
from tests.backends.fake_tensorrt import World

Fake = Callable[..., World]


@pytest.fixture(scope="session")
def fp32(model: Path) -> Path:
    return model / "model.onnx"


@pytest.fixture(scope="session")
def int8(fp32: Path, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = onnx.load(fp32)
    pixels = load_pixels(manifest.of(Split.TRAIN)[:8], 64)
    path = tmp_path_factory.mktemp("int8") / "model-int8.onnx"
    onnx.save(emit(graph, measure_ranges(graph, pixels, lambda _: None), Dialect.TENSORRT), path)
    return path


@pytest.fixture(scope="session")
def fp16(fp32: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fp16") / "model-fp16.onnx"
    onnx.save(to_fp16(onnx.load(fp32)), path)
    return path


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Install a TensorRT of a version, with a GPU, for one test."""

    def install(version: str, gpu: FakeGpu | None = None) -> World:
        world = World(version, gpu or FakeGpu())

        def open_memory(name: str | None = None) -> memory.CudaMemory:
            world.library = FakeLibrary(world.gpu)
            return memory.CudaMemory(world.library)

        fake_tensorrt.install(
            world, lambda name, value: monkeypatch.setitem(sys.modules, name, value)
        )
        monkeypatch.setattr(driver, "load_driver", lambda load: FakeDriver(world.gpu))
        monkeypatch.setattr(session, "open_memory", open_memory)
        monkeypatch.setattr(builder, "open_memory", open_memory)
        return world

    return install
