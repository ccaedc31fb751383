"""Time of copies and compute of an engine, by CUDA events."""

from pathlib import Path

import numpy as np
import pytest

from cxredge.backends import open_session
from cxredge.backends.base import AcceleratorSession
from cxredge.backends.cuda import driver
from cxredge.backends.cuda.work import CudaEvents
from cxredge.backends.tensorrt.builder import build_engine
from cxredge.backends.tensorrt.session import SessionOptions, Transfer
from cxredge.backends.tensorrt.settings import EngineConfig
from cxredge.bench.device_stages import time_device_stages
from cxredge.errors import DependencyError, WrongUsage
from cxredge.vocabulary import Precision
from tests.backends.conftest import Fake
from tests.backends.fake_cuda import STREAM, FakeDriver, FakeGpu

COPIED = ["host_to_device", "compute", "device_to_host"]


@pytest.mark.parametrize("graphs", [True, False])
def test_stages_are_timed_and_logits_are_right(graphs: bool, plan: Path, fp32: Path, images):
    with open_session(fp32) as reference:
        expected = reference.infer(images[:2])
    with open_session(plan, "tensorrt", gpu=SessionOptions(cuda_graphs=graphs)) as session:
        assert isinstance(session, AcceleratorSession)
        for _ in range(2):
            np.testing.assert_allclose(session.infer(images[:2]), expected, atol=1e-4)
            logits, stages_ms = session.infer_in_stages(images[:2])
            np.testing.assert_allclose(logits, expected, atol=1e-4)
            assert stages_ms == dict.fromkeys(COPIED, 1.0)


def test_mapped_memory_has_no_copies_to_time(plan: Path, images) -> None:
    options = SessionOptions(transfer=Transfer.MAPPED)
    with open_session(plan, "tensorrt", gpu=options) as session:
        assert session.infer_in_stages(images[:1])[1] == {"compute": 1.0}
        assert session.circumstances().transfer == "mapped"


def test_another_batch_size_drops_the_graph_and_logits_are_right(plan: Path, fp32: Path, images):
    with open_session(fp32) as reference:
        expected = reference.infer(images[:4])
    with open_session(plan, "tensorrt") as session:
        for _ in range(3):
            session.infer(images[:3])
        logits, _ = session.infer_in_stages(images[:4])
        np.testing.assert_allclose(logits, expected, atol=1e-4)
        np.testing.assert_allclose(session.infer(images[:4]), expected, atol=1e-4)


def test_events_are_freed_and_a_failing_engine_is_reported(
    fake: Fake, fp32: Path, tmp_path, images
):
    world = fake("10.3.0")
    build_engine(fp32, tmp_path / "m.plan", EngineConfig(Precision.FP32))
    with open_session(tmp_path / "m.plan", "tensorrt") as session:
        session.infer_in_stages(images[:1])
        assert world.gpu.events == {}
        world.run_fails = True
        with pytest.raises(Exception, match="cannot run"):
            session.infer_in_stages(images[:1])
        assert world.gpu.events == {}
        world.run_fails = False


def test_time_is_split_by_stage_only_on_a_gpu(plan: Path, fp32: Path, images) -> None:
    with open_session(plan, "tensorrt") as session:
        found = time_device_stages(session, images)
    assert {name: set(times) for name, times in found.items()} == {name: {1.0} for name in COPIED}
    with open_session(fp32) as session:
        assert time_device_stages(session, images) == {}


def test_elapsed_time_of_pending_events_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu()
    monkeypatch.setattr(driver, "load_driver", lambda load: FakeDriver(gpu))
    events = CudaEvents(STREAM)
    events.record()
    gpu.calls.append("execute")
    events.record()
    with pytest.raises(DependencyError, match="words for 600"):
        events.elapsed_ms()
    gpu.wait()
    assert events.elapsed_ms() == [1.0]
    events.close()
    assert gpu.events == {}


def test_gpu_options_are_refused_on_a_processor(fp32: Path) -> None:
    with pytest.raises(WrongUsage, match="onnxruntime runs on the processor"):
        open_session(fp32, gpu=SessionOptions())
