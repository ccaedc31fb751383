"""Settings, timing caches and progress of a build."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cxredge.backends.tensorrt.builder import build_engine
from cxredge.backends.tensorrt.facts import facts_path
from cxredge.backends.tensorrt.settings import EngineConfig
from cxredge.errors import CxredgeError
from cxredge.targets.engine_request import workspace_for
from cxredge.vocabulary import Precision
from tests.backends.conftest import Fake
from tests.backends.fake_cuda import FakeGpu


class Listener:
    """A progress listener that records its calls."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, int | None]] = []
        self.done = 0

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator:
        self.tasks.append((description, total))

        def advance(count: int) -> None:
            self.done += count

        yield advance

    def note(self, message: str) -> None:
        raise AssertionError(message)


def test_settings_reach_the_builder(fake: Fake, fp32: Path, tmp_path: Path) -> None:
    world = fake("10.3.0")
    settings = EngineConfig(
        Precision.FP32,
        batches=(1, 8, 16),
        workspace_mb=workspace_for(8000),
        optimization_level=4,
        version_compatible=True,
    )
    build_engine(fp32, tmp_path / "m.plan", settings)
    assert world.seen["pools"] == {"WORKSPACE": 2_000_000_000}
    assert world.seen["IBuilderConfig.builder_optimization_level"] == 4
    assert world.seen["IBuilderConfig.profiling_verbosity"].name == "DETAILED"
    assert world.seen["flags"] == {"VERSION_COMPATIBLE"}
    assert [[shape[0] for shape in p] for p in world.seen["profiles"]] == [
        [1, 1, 1], [2, 8, 8], [9, 16, 16],
    ]  # fmt: skip
    assert world.seen["profiles"][0][0] == [1, 1, 64, 64]
    assert world.seen["Runtime.engine_host_code_allowed"] is True


def test_bf16_is_refused() -> None:
    with pytest.raises(CxredgeError, match="compute in fp32, fp16 or int8; bf16 is not supported"):
        EngineConfig(Precision.BF16)


@pytest.mark.parametrize("batches", [(), (0,), (4, 1), (2, 2)])
def test_invalid_batch_sizes_are_refused(batches: tuple[int, ...]) -> None:
    with pytest.raises(CxredgeError, match="ascending"):
        EngineConfig(Precision.FP32, batches=batches)


def test_timing_caches_are_kept_by_version_and_board(
    fake: Fake, fp32: Path, tmp_path: Path
) -> None:
    folders = (tmp_path / "timings", tmp_path / "beside")
    settings = EngineConfig(Precision.FP32, timing_cache_folders=folders)
    world = fake("10.3.0", FakeGpu(name="Orin (nvgpu)"))
    build_engine(fp32, tmp_path / "m.plan", settings)
    (kept,) = (tmp_path / "timings").iterdir()
    assert kept.name == "tensorrt-10.3.0-sm8.7-orin-nvgpu.cache"
    assert kept.read_bytes() == b"timings after "
    build_engine(fp32, tmp_path / "m.plan", settings)
    assert world.seen["timing cache"] == b"timings after "
    kept.write_bytes(b"1")
    build_engine(fp32, tmp_path / "m.plan", settings)
    assert world.seen["timing cache"] == b"1", "the first path is read"
    kept.unlink()
    build_engine(fp32, tmp_path / "m.plan", settings)
    assert world.seen["timing cache"] == b"timings after 1", "the second path is read"
    for useless in (b"damaged", b"of another driver"):
        kept.write_bytes(useless)
        build_engine(fp32, tmp_path / "m.plan", settings)
        assert kept.read_bytes() == b"timings after "


def test_progress_shows_steps_or_the_last_duration(fake: Fake, fp32: Path, tmp_path) -> None:
    settings, plan = EngineConfig(Precision.FP32), tmp_path / "m.plan"
    fake("10.3.0")
    listener = Listener()
    build_engine(fp32, plan, settings, listener)
    assert listener.tasks == [("Building", 4)]
    assert listener.done == 4
    body = json.loads(facts_path(plan).read_text())
    facts_path(plan).write_text(json.dumps({**body, "build_seconds": 214.2}))
    fake("8.6.1")
    listener = Listener()
    build_engine(fp32, plan, settings, listener)
    assert listener.tasks == [("Building with TensorRT 8.6.1; last time it took 214 s", None)]
