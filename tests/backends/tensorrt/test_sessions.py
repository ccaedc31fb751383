"""Engines: loaded and run, or refused with a reason."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from cxredge.backends import open_session
from cxredge.backends.base import EngineRun
from cxredge.backends.onnxruntime import run_graph
from cxredge.backends.tensorrt.builder import build_engine
from cxredge.backends.tensorrt.facts import EngineFacts, facts_path, read_facts, record_golden
from cxredge.backends.tensorrt.session import SessionOptions, TensorRTSession, Transfer
from cxredge.backends.tensorrt.settings import EngineConfig
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.graph.outputs import add_distance, add_maps, feature_graph, feature_widths
from cxredge.metrics.reference_bank import fit_bank
from cxredge.vocabulary import Precision
from tests.backends.conftest import Fake

LOADING = [
    ("The engine plan file is not compatible with this version of TensorRT, expecting library "
     "version 10.3.0.26 got 10.7.0.23, please rebuild.", "built with TensorRT 10.7.0.23 and this"),
    ("The engine plan file is not compatible with this version of TensorRT, expecting library "
     "version 10.3.0.26 got , please rebuild.", "an unknown version and this is 10.3.0.26"),
    ("Version tag does not match. Note: Current Version: 237, Serialized Engine Version: 239",
     "format 239; this one reads 237"),
    ("The engine plan file is generated on an incompatible device, expecting compute 8.7 got "
     "compute 7.2, please rebuild.", "compute capability 7.2; this GPU has 8.7"),
    ("Serialization assertion stdVersionRead == serializationVersion failed.",
     "another TensorRT version."),
    ("Platform specific tag mismatch detected. TensorRT plan files are only supported on the "
     "target runtime platform they were created on.", "another platform"),
    ("The current device only supports 4 multiprocessors but the engine file requires 8",
     "8 multiprocessors; this one has 4"),
    ("Serialization assertion header.magicTag == kEXPECTED_MAGIC_TAG failed.", "damaged"),
    # From TensorRT for RTX 1.7 on an H200, for which it had built without a warning.
    ("IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error (The engine cannot run on "
     "this GPU, which has compute capability 9.0. Supported compute capabilities: None. "
     "TensorRT-RTX does not support this compute capability, so the engine cannot be rebuilt for "
     "it.)", "this TensorRT does not support this GPU"),
    ("Error Code 1: Cuda Runtime (cudaError 35: CUDA driver version is insufficient)", "no usable"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), LOADING)
def test_an_engine_that_does_not_load_is_explained(
    text: str, message: str, plan: Path, fake: Fake
) -> None:
    world = fake("10.3.0")
    world.load_fails, world.loader_says = True, [("ERROR", text)]
    with pytest.raises(CxredgeError, match=re.escape(message)):
        TensorRTSession(plan)
    assert world.library.closed


@pytest.mark.parametrize(
    "warning",
    [
        "Using an engine plan file across different models of devices is not recommended and is "
        "likely to affect performance or even cause errors.",
        "Using an engine plan file across different models of devices is not supported and may "
        "cause errors or deadlock.",
    ],
)
def test_an_engine_of_another_gpu_is_refused_although_it_loads(
    warning: str, plan: Path, fake: Fake
) -> None:
    """Without its facts, only TensorRT's warning shows it."""
    facts_path(plan).unlink()
    world = fake("10.3.0")
    world.loader_says = [("WARNING", warning)]
    with pytest.raises(ArtifactError, match="another model of GPU") as why:
        TensorRTSession(plan)
    assert "cxredge deploy" in why.value.hint
    assert world.library.closed


def test_an_engine_that_does_not_run_is_explained(plan: Path, fake: Fake, images) -> None:
    world = fake("10.3.0")
    with TensorRTSession(plan) as session:
        world.run_fails = True
        with pytest.raises(CxredgeError, match=r"TensorRT 10.3.0 cannot run m.plan"):
            session.infer(images[:1])


def test_a_rejected_profile_is_not_run(plan: Path, fake: Fake) -> None:
    world = fake("10.3.0")
    world.profile_fails = True
    with pytest.raises(CxredgeError, match=r"TensorRT 10\.3\.0 cannot run m\.plan"):
        TensorRTSession(plan)
    assert world.library.closed


def test_a_graph_is_captured_at_the_second_run_of_a_batch_size(
    plan: Path, fp32: Path, fake: Fake, images
) -> None:
    world = fake("10.3.0")
    with TensorRTSession(plan) as session, open_session(fp32) as reference:
        world.gpu.calls.clear()
        for _ in range(3):
            session.infer(images[:1])
        assert world.gpu.calls == [
            "copy", "execute", "copy", "synchronize",
            "copy", "execute", "copy", "launch", "synchronize",
            "launch", "synchronize",
        ]  # fmt: skip
        for turn, count in enumerate((1, 3, 3, 2, 4, 4, 4, 1)):
            others = np.roll(images, turn, axis=0)[:count]
            expected = reference.infer(others)
            np.testing.assert_allclose(session.infer(others), expected, atol=1e-4)
        assert session.circumstances().cuda_graphs is True
    assert world.gpu.recordings == {}
    assert set(world.seen["profiles run"]) == {0, 1}


@pytest.mark.parametrize("transfer", list(Transfer))
@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_all_options_compute_the_same(
    transfer: Transfer, cuda_graphs: bool, plan: Path, fp32: Path, fake: Fake, images
) -> None:
    world = fake("10.3.0")
    options = SessionOptions(transfer, cuda_graphs)
    with TensorRTSession(plan, options) as session, open_session(fp32) as reference:
        for _ in range(3):
            np.testing.assert_allclose(session.infer(images), reference.infer(images), atol=1e-4)
        assert ("copy" in world.gpu.calls) is (transfer is Transfer.COPY)
        assert ("launch" in world.gpu.calls) is cuda_graphs
        assert session.circumstances() == EngineRun(
            tensorrt="10.3.0",
            memory_library="fake",
            transfer=transfer.value,
            cuda_graphs=cuda_graphs,
            cuda_graphs_refused=() if cuda_graphs else ("not requested",),
            device_memory_bytes=1000,
        )


def test_a_refused_capture_is_recorded_and_slower(plan: Path, fake: Fake, images) -> None:
    world = fake("10.3.0")
    world.gpu.refuses_recording = True
    with TensorRTSession(plan) as session:
        results = [session.infer(images[:2]) for _ in range(3)]
        assert "CUDA error 900" in session.circumstances().cuda_graphs_refused[0]
    np.testing.assert_array_equal(results[0], results[2])
    assert "launch" not in world.gpu.calls


def test_results_belong_to_the_caller(plan: Path, fake: Fake, images) -> None:
    fake("10.3.0")
    with TensorRTSession(plan) as session:
        first = session.infer(images[:1])
        kept = first.copy()
        session.infer(images[1:2])
    np.testing.assert_array_equal(first, kept)


def test_facts_are_bound_to_the_engine(plan: Path, fake: Fake) -> None:
    fake("10.3.0")
    facts = record_golden(plan, {"passed": True, "images": 12})
    assert isinstance(facts, EngineFacts)
    again = read_facts(plan)
    assert again is not None
    assert again.golden == {"passed": True, "images": 12}
    plan.write_bytes(plan.read_bytes()[:-1] + b"?")
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        TensorRTSession(plan)


@pytest.mark.parametrize("transfer", list(Transfer))
def test_all_outputs_are_returned_for_every_batch(
    transfer: Transfer, model: Path, fake: Fake, images: np.ndarray, tmp_path: Path
) -> None:
    path, plan = tmp_path / "whole.onnx", tmp_path / "whole.plan"
    graph = onnx.load(model / "model.onnx")
    features = run_graph(feature_graph(graph), images, lambda _: None)
    bank = fit_bank(features, np.arange(len(images)) % 4, feature_widths(graph), max_axes=4)
    onnx.save(add_maps(add_distance(graph, bank)), path)
    fake("10.3.0")
    build_engine(path, plan, EngineConfig(Precision.FP32, batches=(1, 4)))
    with TensorRTSession(plan, SessionOptions(transfer)) as session, open_session(path) as other:
        assert session.spec.has_distances
        assert session.spec.map_sides == other.spec.map_sides == (32, 32)
        expected = other.run(images)
        first = session.run(images)
        kept = replace(first, distances=copy(first.distances), maps=copy(first.maps))
        # The second and third run of a batch size record and launch a CUDA graph.
        for count in (len(images), len(images), 1, 3):
            found = session.run(images[:count])
            assert found.logits == pytest.approx(expected.logits[:count], abs=1e-4)
            assert found.distances == pytest.approx(copy(expected.distances)[:count], rel=1e-4)
            assert found.maps == pytest.approx(copy(expected.maps)[:count], abs=1e-4)
            assert found.decided_by_fp32 is None
        assert (first.distances == kept.distances).all()
        assert (first.maps == kept.maps).all()


def copy(values: np.ndarray | None) -> np.ndarray:
    assert values is not None
    return values.copy()
