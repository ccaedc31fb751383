"""Building and running, on a TensorRT that has each version's names and no others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from cxredge.backends import open_session
from cxredge.backends.tensorrt import (
    EngineConfig,
    EngineFacts,
    LegacyCalibration,
    SessionOptions,
    TensorRTSession,
    Transfer,
    Typing,
    build_engine,
)
from cxredge.backends.tensorrt.facts import facts_path, read_facts, record_golden
from cxredge.backends.tensorrt.inspector import parse_layers
from cxredge.backends.tensorrt.layer_profile import profile_layers
from cxredge.data.manifest import read_manifest, write_manifest
from cxredge.engine_request import workspace_for
from cxredge.errors import ArtifactError, CxredgeError, DependencyError
from cxredge.vocabulary import Precision
from tests.backends.conftest import Fake
from tests.backends.fake_cuda import FakeGpu

FLAGS = ("8.5.2", "8.6.1", "10.0.1", "10.3.0", "10.7.0", "10.13.3.9", "10.16.1.11")
STRONG = ("11.0.0.114", "11.4.0.106", "rtx")
VERSIONS = (*FLAGS, *STRONG)
PRECISIONS = (Precision.FP32, Precision.FP16, Precision.INT8)


class Listener:
    """A Progress that keeps what it hears."""

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


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (11, 64, 64), dtype=np.uint8)


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
    assert facts.profiles == [[1, 1, 1], [2, 4, 4]]
    assert facts.layers == [{"name": "conv1 + clip1", "kind": "CaskConvolution", "format": "int8"}]
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
def test_older_versions_are_told_precisions_by_flags(
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
    assert facts.network_formats["float"] == 1, "the logits alone"
    with pytest.raises(ArtifactError, match=r"has no FP16 in it, and TensorRT .* goes by its"):
        build_engine(fp32, tmp_path / "f.plan", half)
    assert not (tmp_path / "f.plan").exists()


@pytest.mark.parametrize(
    ("version", "settings", "message"),
    [
        ("8.6.1", {"typing": Typing.STRONG}, "strong typing came with 10"),
        ("11.4.0.106", {"typing": Typing.FLAGS}, "from the ONNX file alone"),
        ("8.5.2", {"optimization_level": 3}, "no optimization levels"),
        ("8.5.2", {"version_compatible": True}, "cannot build version-compatible"),
        ("10.3.0", {"compute_capability": "8.6"}, "builds only for the GPU"),
        ("rtx", {"compute_capability": "8.7"}, "it serves"),
    ],
)
def test_what_a_version_lacks_is_said(
    version: str, settings: dict, message: str, fake: Fake, fp32: Path, tmp_path: Path
) -> None:
    fake(version)
    with pytest.raises(CxredgeError, match=message):
        build_engine(fp32, tmp_path / "m.plan", EngineConfig(Precision.FP32, **settings))
    assert list(tmp_path.iterdir()) == []


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


def test_tensorrt_for_rtx_is_told_the_gpu(fake: Fake, fp32: Path, tmp_path: Path) -> None:
    """Without, its builder takes none, which it calls invalid."""
    world = fake("rtx")
    build_engine(fp32, tmp_path / "m.plan", EngineConfig(Precision.FP32))
    assert world.seen["compute capability"] == "CURRENT"
    settings = EngineConfig(Precision.FP32, compute_capability="8.9")
    facts = build_engine(fp32, tmp_path / "m.plan", settings)
    assert world.seen["compute capability"] == "SM89"
    assert world.seen["IBuilderConfig.num_compute_capabilities"] == 1
    assert (facts.compute_capability, facts.gpu, facts.layers) == ("8.9", None, [])


def test_bf16_is_refused() -> None:
    with pytest.raises(CxredgeError, match="computes in fp32, fp16 or int8, not in bf16"):
        EngineConfig(Precision.BF16)


@pytest.mark.parametrize("batches", [(), (0,), (4, 1), (2, 2)])
def test_batches_that_make_no_sense_are_refused(batches: tuple[int, ...]) -> None:
    with pytest.raises(CxredgeError, match="ascending"):
        EngineConfig(Precision.FP32, batches=batches)


def test_timings_are_kept_for_version_and_board(fake: Fake, fp32: Path, tmp_path: Path) -> None:
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
    assert world.seen["timing cache"] == b"1", "the first place counts"
    kept.unlink()
    build_engine(fp32, tmp_path / "m.plan", settings)
    assert world.seen["timing cache"] == b"timings after 1", "what lies beside is found"
    for useless in (b"damaged", b"of another driver"):
        kept.write_bytes(useless)
        build_engine(fp32, tmp_path / "m.plan", settings)
        assert kept.read_bytes() == b"timings after "


def test_progress_is_told_by_steps_or_by_the_last_time(fake: Fake, fp32: Path, tmp_path) -> None:
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
    assert listener.tasks == [("TensorRT 8.6.1 builds; last time it took 214 s", None)]


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0"])
def test_the_parser_names_the_node_it_refuses(
    version: str, fake: Fake, fp32: Path, tmp_path: Path
) -> None:
    world = fake(version)
    world.parser_says = [(8, "No importer registered for op: Einsum")]
    with pytest.raises(ArtifactError, match=r"'residual' \(Add\): .*operator Einsum") as why:
        build_engine(fp32, tmp_path / "m.plan", EngineConfig(Precision.FP32))
    assert "--target cpu-arm" in why.value.hint
    world.parser_says = [(8, "false")]
    world.parser_code = "UNSUPPORTED_NODE_SHAPE"
    with pytest.raises(ArtifactError, match=r"'residual' \(Add\): .* not for this shape"):
        build_engine(fp32, tmp_path / "m.plan", EngineConfig(Precision.FP32))


def test_quantized_files_are_for_int8_alone(fake: Fake, fp32: Path, int8: Path, tmp_path) -> None:
    fake("10.3.0")
    for path, precision in ((int8, Precision.FP16), (fp32, Precision.INT8)):
        with pytest.raises(ArtifactError, match=r"quantized, and (fp16|int8) takes (an|the) ONNX"):
            build_engine(path, tmp_path / "m.plan", EngineConfig(precision))


SAYINGS = [
    ("ERROR", "Requested amount of GPU memory (1 bytes) could not be allocated", "too little mem"),
    ("ERROR", "[x] Error Code 2: OutOfMemory (no further information)", "too little memory"),
    ("ERROR", "Error Code 10: Could not find any implementation for node conv1 + clip1.",
     "no kernel fits node conv1 . clip1"),
    ("ERROR", "input has type Int32 but must have type FP8, FP4, Int4, Int8, or UInt8",
     "a bias is quantized"),
    ("WARNING", "Skipping tactic due to insufficient memory on requested size of 100",
     "too little memory"),
    ("ERROR", "[pass.cpp:337: check_turing_op_compatibility] Cannot compile operation '/head/Gemm' "
     "for Turing (SM75): FP32 GEMM is not supported. In compileGraph at x.cpp:2012",
     "node '/head/Gemm' has no kernel on Turing GPUs .SM 75.: FP32 GEMM is not supported"),
    ("ERROR", "Target GPU SM 70 is not supported by this TensorRT release.", "not serve this GPU"),
    ("ERROR", "Error Code 1: Cuda Runtime (no kernel image is available for execution on the "
     "device)", "not serve this GPU"),
    ("ERROR", "Something new went wrong.", "Something new went wrong"),
]  # fmt: skip


@pytest.mark.parametrize(("severity", "text", "message"), SAYINGS)
def test_a_failed_build_is_put_in_words(
    severity: str, text: str, message: str, fake: Fake, fp32: Path, tmp_path: Path
) -> None:
    world = fake("10.3.0")
    world.build_fails, world.builder_says = True, [(severity, text)]
    with pytest.raises(CxredgeError, match=message) as why:
        build_engine(fp32, tmp_path / "m.plan", EngineConfig(Precision.FP32))
    assert why.value.message.startswith("TensorRT 10.3.0 cannot build m.plan: ")
    assert why.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_builder_that_cannot_be_made_is_put_in_words(fake: Fake, fp32: Path, tmp_path) -> None:
    world = fake("10.3.0")
    world.has_driver = False
    with pytest.raises(DependencyError, match="no NVIDIA driver or GPU"):
        build_engine(fp32, tmp_path / "m.plan", EngineConfig(Precision.FP32))


def test_int8_is_refused_without_hardware(fake: Fake, int8: Path, fp32: Path, tmp_path) -> None:
    world = fake("8.6.1", FakeGpu((5, 3), "NVIDIA Tegra X1"))
    world.has_int8 = False
    with pytest.raises(CxredgeError, match="NVIDIA Tegra X1 has no INT8 hardware") as why:
        build_engine(int8, tmp_path / "m.plan", EngineConfig(Precision.INT8))
    assert why.value.hint == "Use --precision fp16."
    build_engine(fp32, tmp_path / "m.plan", EngineConfig(Precision.FP16))


def test_an_engine_that_cannot_be_loaded_is_not_written(fake: Fake, fp32: Path, tmp_path) -> None:
    world = fake("10.3.0")
    world.load_fails = True
    with pytest.raises(ArtifactError, match="cannot load what it has just built"):
        build_engine(fp32, tmp_path / "m.plan", EngineConfig(Precision.FP32))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def plan(fake: Fake, fp32: Path, tmp_path: Path) -> Path:
    """An engine of TensorRT 10.3 for an Orin."""
    fake("10.3.0")
    path = tmp_path / "m.plan"
    build_engine(fp32, path, EngineConfig(Precision.FP32, batches=(1, 4)))
    return path


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
    ("Error Code 1: Cuda Runtime (cudaError 35: CUDA driver version is insufficient)", "no NVIDIA"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), LOADING)
def test_an_engine_that_does_not_load_is_put_in_words(
    text: str, message: str, plan: Path, fake: Fake
) -> None:
    world = fake("10.3.0")
    world.load_fails, world.loader_says = True, [("ERROR", text)]
    with pytest.raises(CxredgeError, match=re.escape(message)):
        TensorRTSession(plan)
    assert world.library.closed


def test_what_is_wrong_comes_before_what_was_warned_of(fake: Fake, fp32: Path, tmp_path) -> None:
    world = fake("10.3.0")
    world.build_fails = True
    world.builder_says = [
        ("WARNING", "Skipping tactic due to insufficient memory on requested size of 100"),
        ("ERROR", "Error Code 10: Could not find any implementation for node conv1."),
    ]
    with pytest.raises(ArtifactError, match="no kernel fits node conv1") as why:
        build_engine(fp32, tmp_path / "m.plan", EngineConfig(Precision.FP32))
    assert "--workspace-mb" in why.value.hint


@pytest.mark.parametrize(
    "warning",
    [
        "Using an engine plan file across different models of devices is not recommended and is "
        "likely to affect performance or even cause errors.",
        "Using an engine plan file across different models of devices is not supported and may "
        "cause errors or deadlock.",
    ],
)
def test_an_engine_of_another_gpu_is_refused_though_it_loads(
    warning: str, plan: Path, fake: Fake
) -> None:
    """Without its facts, TensorRT's warning is all that tells."""
    facts_path(plan).unlink()
    world = fake("10.3.0")
    world.loader_says = [("WARNING", warning)]
    with pytest.raises(ArtifactError, match="another model of GPU") as why:
        TensorRTSession(plan)
    assert "cxredge build" in why.value.hint
    assert world.library.closed


def test_an_engine_that_does_not_run_is_put_in_words(plan: Path, fake: Fake, images) -> None:
    world = fake("10.3.0")
    with TensorRTSession(plan) as session:
        world.run_fails = True
        with pytest.raises(CxredgeError, match=r"TensorRT 10.3.0 cannot run m.plan"):
            session.infer(images[:1])


def test_a_profile_that_is_not_taken_is_not_run(plan: Path, fake: Fake) -> None:
    world = fake("10.3.0")
    world.profile_fails = True
    with pytest.raises(CxredgeError, match=r"TensorRT 10\.3\.0 cannot run m\.plan"):
        TensorRTSession(plan)
    assert world.library.closed


def test_work_is_recorded_once_a_size_comes_again(
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
        assert session.circumstances()["cuda_graphs"] is True
    assert world.gpu.recordings == {}
    assert set(world.seen["profiles run"]) == {0, 1}


@pytest.mark.parametrize("transfer", list(Transfer))
@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_ways_to_run_give_the_same(
    transfer: Transfer, cuda_graphs: bool, plan: Path, fp32: Path, fake: Fake, images
) -> None:
    world = fake("10.3.0")
    options = SessionOptions(transfer, cuda_graphs)
    with TensorRTSession(plan, options) as session, open_session(fp32) as reference:
        for _ in range(3):
            np.testing.assert_allclose(session.infer(images), reference.infer(images), atol=1e-4)
        assert ("copy" in world.gpu.calls) is (transfer is Transfer.COPY)
        assert ("launch" in world.gpu.calls) is cuda_graphs
        assert session.circumstances() == {
            "tensorrt": "10.3.0",
            "memory_library": "fake",
            "transfer": transfer.value,
            "cuda_graphs": cuda_graphs,
            "cuda_graphs_refused": [] if cuda_graphs else ["not asked for"],
            "device_memory_bytes": 1000,
        }


def test_a_refused_recording_costs_speed_and_is_told(plan: Path, fake: Fake, images) -> None:
    world = fake("10.3.0")
    world.gpu.refuses_recording = True
    with TensorRTSession(plan) as session:
        results = [session.infer(images[:2]) for _ in range(3)]
        assert "CUDA error 900" in session.circumstances()["cuda_graphs_refused"][0]
    np.testing.assert_array_equal(results[0], results[2])
    assert "launch" not in world.gpu.calls


def test_results_are_the_callers(plan: Path, fake: Fake, images) -> None:
    fake("10.3.0")
    with TensorRTSession(plan) as session:
        first = session.infer(images[:1])
        kept = first.copy()
        session.infer(images[1:2])
    np.testing.assert_array_equal(first, kept)


def test_layers_are_timed(plan: Path, fake: Fake, images) -> None:
    fake("10.3.0")
    layers = profile_layers(plan, images[:1], runs=4, warm_up=2)
    assert [(layer.name, layer.mean_ms) for layer in layers] == [("gemm", 0.5), ("conv1", 0.25)]


def test_the_passport_is_bound_to_the_engine(plan: Path, fake: Fake) -> None:
    fake("10.3.0")
    facts = record_golden(plan, {"passed": True, "images": 12})
    assert isinstance(facts, EngineFacts)
    again = read_facts(plan)
    assert again is not None
    assert again.golden == {"passed": True, "images": 12}
    plan.write_bytes(plan.read_bytes()[:-1] + b"?")
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        TensorRTSession(plan)


def test_an_engine_of_something_else_is_refused(fake: Fake, fp32: Path, tmp_path: Path) -> None:
    fake("10.3.0")
    other = onnx.load(fp32)
    for node in other.graph.node:
        node.output[:] = ["scores" if name == "logits" else name for name in node.output]
    other.graph.output[0].name = "scores"
    onnx.save(other, tmp_path / "other.onnx")
    with pytest.raises(ArtifactError, match="does not take 'image' and give 'logits'"):
        build_engine(tmp_path / "other.onnx", tmp_path / "m.plan", EngineConfig(Precision.FP32))


class TestLegacyCalibration:
    @pytest.fixture
    def settings(self, calibration: Path, tmp_path: Path) -> EngineConfig:
        legacy = LegacyCalibration(calibration, tmp_path / "tables", batch=8)
        return EngineConfig(Precision.INT8, calibration=legacy)

    @pytest.mark.parametrize("version", FLAGS)
    def test_reads_every_batch_once_and_keeps_the_table(
        self, version: str, settings: EngineConfig, fake: Fake, fp32: Path, tmp_path: Path
    ) -> None:
        world = fake(version)
        facts = build_engine(fp32, tmp_path / "m.plan", settings)
        assert facts.settings["legacy_calibration"] is True
        assert world.seen["flags"] == {"INT8", "FP16", "TF32"}
        sums = world.seen["calibration sums"]
        assert len(sums) == len({total for _, total in sums}) == 3
        assert world.gpu.allocations == {}, "freed once the engine is built"
        (table,) = (tmp_path / "tables").iterdir()
        assert table.read_bytes() == b"table"
        build_engine(fp32, tmp_path / "m.plan", settings)
        assert world.seen["calibration table read"] == b"table"
        assert world.seen["calibration sums"] == []

    def test_table_is_of_this_model_and_these_images(
        self, settings: EngineConfig, fake: Fake, fp32: Path, calibration: Path, tmp_path: Path
    ) -> None:
        fake("10.3.0")
        build_engine(fp32, tmp_path / "m.plan", settings)
        other = onnx.load(fp32)
        other.graph.name = "other"
        onnx.save(other, tmp_path / "other.onnx")
        build_engine(tmp_path / "other.onnx", tmp_path / "m.plan", settings)
        entries = read_manifest(calibration).entries
        fewer = write_manifest(tmp_path / "fewer.csv", entries[:16])
        legacy = LegacyCalibration(fewer.path, tmp_path / "tables")
        build_engine(fp32, tmp_path / "m.plan", replace(settings, calibration=legacy))
        fake("10.16.1.11")
        build_engine(fp32, tmp_path / "m.plan", settings)
        assert len(list((tmp_path / "tables").iterdir())) == 4

    def test_a_lost_image_ends_it(
        self, settings: EngineConfig, fake: Fake, fp32: Path, tmp_path: Path, monkeypatch
    ) -> None:
        from cxredge.backends.tensorrt import calibrator
        from cxredge.errors import ImageError, ImageProblem

        def lost(path: Path, size: int) -> np.ndarray:
            raise ImageError(ImageProblem.MISSING, f"{path} does not exist.")

        monkeypatch.setattr(calibrator, "load_grey", lost)
        fake("10.3.0")
        with pytest.raises(ImageError, match="does not exist"):
            build_engine(fp32, tmp_path / "m.plan", settings)
        assert not (tmp_path / "tables").exists()
        assert not (tmp_path / "m.plan").exists()

    @pytest.mark.parametrize("version", STRONG)
    def test_is_refused_where_it_is_gone(
        self, version: str, settings: EngineConfig, fake: Fake, fp32: Path, tmp_path: Path
    ) -> None:
        fake(version)
        with pytest.raises(CxredgeError, match="cannot calibrate a strongly typed network"):
            build_engine(fp32, tmp_path / "m.plan", settings)

    def test_is_for_int8(self, settings: EngineConfig) -> None:
        with pytest.raises(CxredgeError, match="for int8, not for fp16"):
            replace(settings, precision=Precision.FP16)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Half NHWC8", "fp16"),
        ("Row major linear FP32", "fp32"),
        ("Two wide channel vectorized row major Int8 format", "int8"),
        ("UInt8 linear", "uint8"),
        ("BFloat16", "bf16"),
        ("Something", "Something"),
    ],
)
def test_formats_are_read_from_the_inspector(said: str, expected: str) -> None:
    layer = {"Name": "a", "LayerType": "k", "Outputs": [{"Name": "x", "Datatype": said}]}
    assert parse_layers(json.dumps({"Layers": [layer]}))[0]["format"] == expected


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"Layers": ["a", "b"]}'])
def test_an_inspector_that_says_little_gives_no_layers(text: str) -> None:
    assert parse_layers(text) == []
