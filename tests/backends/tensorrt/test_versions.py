"""Each version builds and runs, and only names that it has are used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxredge.backends import open_session
from cxredge.backends.tensorrt.builder import build_engine
from cxredge.backends.tensorrt.facts import EngineLayer, read_facts
from cxredge.backends.tensorrt.settings import EngineConfig, Typing
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.vocabulary import Precision
from tests.backends.conftest import Fake
from tests.backends.tensorrt.conftest import FLAGS, STRONG

VERSIONS = (*FLAGS, *STRONG)
PRECISIONS = (Precision.FP32, Precision.FP16, Precision.INT8)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_version_builds_and_runs(
    version: str, precision: Precision, fake: Fake, fp32: Path, fp16: Path, int8: Path, images,
    tmp_path: Path,
) -> None:  # fmt: skip
    world = fake(version)
    typed = fp16 if version in STRONG else fp32
    path = {Precision.FP32: fp32, Precision.FP16: typed, Precision.INT8: int8}[precision]
    plan = tmp_path / "m.plan"
    facts = build_engine(path, plan, EngineConfig(precision, batches=(1, 4)))
    assert facts.version == world.number
    assert facts.typing == ("flags" if version in FLAGS else "strong")
    assert facts.compute_capability == "8.7"
    assert facts.profiles == ((1, 1, 1), (2, 4, 4))
    assert facts.layers == (EngineLayer("conv1 + clip1", "CaskConvolution", "int8"),)
    assert read_facts(plan) == replace(facts, layers=facts.layers)
    with open_session(path) as reference, open_session(plan, "tensorrt") as session:
        assert (session.spec.size, session.spec.classes) == (64, 4)
        expected = reference.infer(images)
        for _ in range(2):
            np.testing.assert_allclose(
                session.infer(images), expected, atol=0.1 if precision is Precision.FP16 else 1e-4
            )
    assert world.gpu.allocations == {}
    assert world.library.closed


@pytest.mark.parametrize("version", FLAGS)
def test_older_versions_get_precisions_by_flags(
    version: str, fake: Fake, fp32: Path, int8: Path, tmp_path: Path
) -> None:
    world = fake(version)
    flags = {}
    for precision, path in ((Precision.FP32, fp32), (Precision.FP16, fp32), (Precision.INT8, int8)):
        facts = build_engine(path, tmp_path / "m.plan", EngineConfig(precision))
        flags[precision] = world.seen["flags"]
        assert "half" not in facts.network_formats
    assert flags == {
        Precision.FP32: set(),
        Precision.FP16: {"FP16", "TF32"},
        Precision.INT8: {"FP16", "INT8", "TF32"},
    }
    assert world.seen["network flags"] == {"EXPLICIT_BATCH"}


@pytest.mark.parametrize("version", ["10.3.0", "10.16.1.11", *STRONG])
def test_strong_typing_leaves_precisions_to_the_file(
    version: str, fake: Fake, fp32: Path, fp16: Path, int8: Path, tmp_path: Path
) -> None:
    world = fake(version)
    settings = EngineConfig(Precision.INT8, typing=Typing.STRONG)
    build_engine(int8, tmp_path / "m.plan", settings)
    assert world.seen["flags"] == {"TF32"}
    assert "STRONGLY_TYPED" in world.seen["network flags"]
    half = replace(settings, precision=Precision.FP16)
    facts = build_engine(fp16, tmp_path / "h.plan", half)
    assert facts.network_formats["half"] > 8
    assert facts.network_formats["float"] == 1, "only the logits"
    with pytest.raises(ArtifactError, match=r"has no FP16 tensors, and TensorRT .* uses its"):
        build_engine(fp32, tmp_path / "f.plan", half)
    assert not (tmp_path / "f.plan").exists()


@pytest.mark.parametrize(
    ("version", "settings", "message"),
    [
        ("8.6.1", {"typing": Typing.STRONG}, "strong typing came with 10"),
        ("11.4.0.106", {"typing": Typing.FLAGS}, "only from the ONNX file"),
        ("8.5.2", {"optimization_level": 3}, "no optimization levels"),
        ("8.5.2", {"version_compatible": True}, "cannot build version-compatible"),
        ("10.3.0", {"compute_capability": "8.6"}, "builds only for the GPU"),
        ("rtx", {"compute_capability": "8.7"}, "it supports"),
    ],
)
def test_unsupported_settings_are_refused(
    version: str, settings: dict, message: str, fake: Fake, fp32: Path, tmp_path: Path
) -> None:
    fake(version)
    with pytest.raises(CxredgeError, match=message):
        build_engine(fp32, tmp_path / "m.plan", EngineConfig(Precision.FP32, **settings))
    assert list(tmp_path.iterdir()) == []


def test_tensorrt_for_rtx_gets_the_gpu(fake: Fake, fp32: Path, tmp_path: Path) -> None:
    """By default its builder has none, and calls that invalid."""
    world = fake("rtx")
    build_engine(fp32, tmp_path / "m.plan", EngineConfig(Precision.FP32))
    assert world.seen["compute capability"] == "CURRENT"
    settings = EngineConfig(Precision.FP32, compute_capability="8.9")
    facts = build_engine(fp32, tmp_path / "m.plan", settings)
    assert world.seen["compute capability"] == "SM89"
    assert world.seen["IBuilderConfig.num_compute_capabilities"] == 1
    assert (facts.compute_capability, facts.gpu, facts.layers) == ("8.9", None, ())
