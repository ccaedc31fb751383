"""From a bundle to engines that serve it, on a board that is not there."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from cxredge import engines
from cxredge.archive import write_archive
from cxredge.backends.tensorrt.facts import facts_path, read_facts
from cxredge.bundle import open_bundle
from cxredge.bundle_files import engine_source
from cxredge.data.manifest import read_manifest, write_manifest
from cxredge.delivery import deliver
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.progress import Silent
from cxredge.targets import registry
from cxredge.vocabulary import Precision
from tests.backends.conftest import Fake
from tests.backends.fake_cuda import FakeGpu
from tests.conftest import Ran, Run
from tests.targets.boards import ORIN_NANO_SUPER, tree


@pytest.fixture(scope="module")
def packed(cxredge: Run, model: Path, calibration: Path, tmp_path_factory) -> Path:
    """A bundle for an Orin Nano, packed elsewhere. Shared: copy it before changing it."""
    out = tmp_path_factory.mktemp("packed") / "bundle"
    ran = build_from(cxredge, model, calibration, out)
    assert ran.code == 0, ran.err
    assert ran.json["finished_here"] is False
    return out


@pytest.fixture
def bundle(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "bundle"))


@pytest.fixture
def timings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/cxredge/tensorrt"


@pytest.fixture
def on_board(timings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this machine an Orin Nano."""
    monkeypatch.setattr(registry, "ROOT", tree(tmp_path / "root", ORIN_NANO_SUPER))
    monkeypatch.setattr(registry, "this_machine", lambda: "aarch64")


def build_from(cxredge: Run, model: Path, calibration: Path, out: Path) -> Ran:
    return cxredge(
        "build", model, "--calibration", calibration, "--out", out, "--target",
        "jetson-orin-nano", "--effort", "quick", "--min-agreement", 0.5,
        "--max-accuracy-drop", 0.5, "--json",
    )  # fmt: skip


def finish(cxredge: Run, bundle: Path, *more: object) -> Ran:
    ran = cxredge("build", bundle, "--json", *more)
    assert ran.code == 0, ran.err
    return ran


def plans(bundle: Path) -> dict[str, int]:
    """Return when each engine was written."""
    return {path.name: path.stat().st_mtime_ns for path in bundle.glob("*.plan")}


def test_a_bundle_for_a_board_is_the_same_byte_for_byte(
    cxredge: Run, model: Path, calibration: Path, packed: Path, tmp_path: Path
) -> None:
    ran = build_from(cxredge, model, calibration, tmp_path / "again")
    assert ran.code == 0, ran.err
    contents = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*")}
        for folder in (packed, tmp_path / "again")
    ]
    names = {path.name for path in contents[0]}
    assert {"model-int8.onnx", "model-fp16.onnx", "golden.npz", "ranges.json"} <= names
    assert {"card.json", "recipe.txt", "calibration.csv"} <= names
    assert contents[0] == contents[1]
    for folder in (packed, tmp_path / "again"):
        write_archive(folder, tmp_path / f"{folder.name}.tar")
    one, other = (tmp_path / f"{name}.tar" for name in ("bundle", "again"))
    assert one.read_bytes() == other.read_bytes()


ALL = {"model-fp32.plan", "model-fp16.plan", "model-int8.plan"}


@pytest.mark.usefixtures("on_board")
def test_a_bundle_is_finished_and_served_on_the_board(
    cxredge: Run,
    bundle: Path,
    phantoms: Path,
    fake: Fake,
    timings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Long enough for twenty latencies where other work holds the processor.
    monkeypatch.setattr("cxredge.speed.LATENCY_S", 0.2)
    world = fake("10.3.0")
    found = finish(cxredge, bundle).json
    assert found["finished_here"] is True
    assert found["left_out"] == {}
    assert set(plans(bundle)) == ALL
    opened = open_bundle(bundle)
    assert (opened.backend, opened.engine.suffix) == ("tensorrt", ".plan")
    assert found["engine"] == str(opened.engine)
    for candidate in found["candidates"]:
        plan = bundle / f"model-{candidate['precision']}.plan"
        facts = read_facts(plan)
        assert facts is not None
        assert candidate["size_bytes"] == plan.stat().st_size
        assert candidate["latency_ms"]["count"] >= 20
        assert facts.golden["passed"] is True
        assert facts.settings["workspace_mb"] == 7990 // 4
        source = "int8" if candidate["precision"] == "int8" else "fp32"
        assert facts.parents["onnx"] == opened.card.files[f"model-{source}.onnx"]
    assert opened.passport is not None
    assert opened.passport["tools"]["tensorrt"] == "10.3.0"
    (kept,) = timings.iterdir()
    assert (bundle / kept.name).read_bytes() == kept.read_bytes(), "beside the engines too"
    assert not [n for n in opened.card.files if ".plan" in n or n.endswith(".cache")]

    world.seen["profiles run"] = []
    verified = cxredge("verify", bundle, "--json")
    assert verified.code == 0, verified.err
    assert len(verified.json["replays"]) == 3
    ran = len(world.seen["profiles run"])
    assert ran > 0, "verify ran the engines"
    rows = tmp_path / "p.csv"
    predicted = cxredge("predict", bundle, phantoms / "images", "--out", rows, "--json")
    assert predicted.code == 0, predicted.err
    assert predicted.json["failed"] == 0
    assert len(world.seen["profiles run"]) > ran
    evaluated = cxredge("evaluate", bundle, phantoms / "manifest.csv", "--json")
    assert evaluated.json["backend"] == "tensorrt"
    assert cxredge("bench", bundle, "--seconds", 0, "--queries", 5, "--json").code == 0
    assert cxredge("inspect", opened.engine, "--json").json["fits_here"] is True
    assert cxredge("report", bundle, "--out", tmp_path / "report.html").code == 0
    assert world.gpu.allocations == {}, "every session was closed"


@pytest.mark.usefixtures("on_board")
def test_a_benchmark_compares_ways_to_reach_memory_and_times_layers(
    cxredge: Run, bundle: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxredge.bench.gpu._ROUNDS", 5)
    world = fake("10.3.0")
    finish(cxredge, bundle)
    quick = ("bench", bundle, "--seconds", 0, "--queries", 5, "--warm-up", 1)
    found = cxredge(*quick, "--memory", "both", "--layers", "--json").json
    assert found["engine"]["transfer"] == "copy"
    assert list(found["memory_ms"]) == ["pinned", "mapped"]
    assert {ms["count"] for ms in found["memory_ms"].values()} == {5}
    assert found["layers_ms"][0] == {"name": "gemm", "mean_ms": 0.5}
    text = cxredge(*quick, "--memory", "both", "--layers").out
    for words in ("GPU's memory  p50 ms", "mapped", "slowest of 2 layers", "67%"):
        assert words in text
    mapped = cxredge(*quick, "--memory", "mapped", "--json").json
    assert mapped["engine"]["transfer"] == "mapped"
    assert (mapped["memory_ms"], mapped["layers_ms"]) == (None, None)
    assert mapped["result"] != found["result"], "neither overwrites the other"
    assert world.gpu.allocations == {}


@pytest.mark.usefixtures("on_board")
def test_an_engine_is_built_again_only_where_something_changed(
    cxredge: Run, bundle: Path, fake: Fake
) -> None:
    fake("10.3.0")
    finish(cxredge, bundle)
    first = plans(bundle)
    again = finish(cxredge, bundle)
    assert plans(bundle) == first
    assert again.err.count("is up to date") == 3
    fake("10.7.0")
    refused = cxredge("verify", bundle)
    assert refused.code == 1
    assert "was built with TensorRT 10.3.0" in refused.err
    assert f"cxredge build {bundle}" in refused.err
    finish(cxredge, bundle)
    assert all(plans(bundle)[name] > first[name] for name in ALL)
    facts = read_facts(bundle / "model-int8.plan")
    assert facts is not None
    assert facts.version == "10.7.0"
    assert cxredge("verify", bundle).code == 0
    second = plans(bundle)
    fake("10.7.0", FakeGpu(name="another Orin"))
    finish(cxredge, bundle)
    assert all(plans(bundle)[name] > second[name] for name in ALL)


@pytest.mark.usefixtures("on_board")
def test_a_changed_engine_is_refused_until_it_is_built_again(
    cxredge: Run, bundle: Path, fake: Fake
) -> None:
    fake("10.3.0")
    finish(cxredge, bundle)
    engine = open_bundle(bundle).engine
    others = {name: time for name, time in plans(bundle).items() if name != engine.name}
    engine.write_bytes(engine.read_bytes() + b" ")
    refused = cxredge("verify", bundle)
    assert refused.code == 1
    assert f"{engine} is not the engine that this bundle was finished with" in refused.err
    assert f"cxredge build {bundle}" in refused.err
    finish(cxredge, bundle)
    assert cxredge("verify", bundle).code == 0
    assert others.items() <= plans(bundle).items(), "what was whole was kept"
    open_bundle(bundle).engine.unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        open_bundle(bundle)


@pytest.mark.usefixtures("on_board")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"engine": "model-int8.onnx"}, "names the engine 'model-int8.onnx'"),
        ({"engine": "../model-int8.plan"}, "names the engine"),
        ({"precision": "int4"}, "is damaged"),
        ({"engine_sha256": "0" * 64}, "is not the engine"),
    ],
)
def test_a_passport_for_another_engine_is_refused_and_replaced(
    change: dict[str, str], message: str, cxredge: Run, bundle: Path, fake: Fake
) -> None:
    fake("10.3.0")
    finish(cxredge, bundle)
    path = bundle / "passport.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ArtifactError, match=message) as why:
        open_bundle(bundle)
    assert why.value.hint.endswith(f"cxredge build {bundle}")
    finish(cxredge, bundle)
    assert cxredge("verify", bundle).code == 0


@pytest.fixture
def no_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    """INT8 engines cannot be built; others can."""
    build = engines.build_engine

    def fails(onnx: Path, plan: Path, settings, progress):
        if settings.precision is Precision.INT8:
            raise CxredgeError("no kernel fits node conv1.", "Use --precision fp16.")
        return build(onnx, plan, settings, progress)

    monkeypatch.setattr(engines, "build_engine", fails)


@pytest.mark.usefixtures("on_board", "no_int8")
def test_what_cannot_be_built_is_left_out_and_said(
    cxredge: Run, bundle: Path, phantoms: Path, fake: Fake
) -> None:
    fake("10.3.0")
    stale = bundle / "model-int8.plan"
    stale.write_bytes(b"of an older TensorRT")
    found = finish(cxredge, bundle).json
    assert found["left_out"] == {"int8": "no kernel fits node conv1."}
    assert {c["precision"] for c in found["candidates"]} == {"fp32", "fp16"}
    assert not stale.exists()
    assert not facts_path(stale).exists()
    assert "int8 has no engine here: no kernel fits" in cxredge("build", bundle).out
    assert [r["precision"] for r in cxredge("verify", bundle, "--json").json["replays"]] == [
        "fp32", "fp16",
    ]  # fmt: skip
    assert cxredge("evaluate", bundle, phantoms / "manifest.csv", "--json").code == 0
    forced = cxredge("build", bundle, "--precision", "int8")
    assert forced.code == 1
    assert "no kernel fits" in forced.err


@pytest.mark.usefixtures("on_board")
def test_a_board_without_tensorrt_is_told_where_it_comes_from(
    cxredge: Run, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    before = {path.name for path in bundle.iterdir()}
    refused = cxredge("build", bundle)
    assert refused.code == 1
    assert "Error: TensorRT cannot be imported here: " in refused.err
    assert "On a Jetson it comes with JetPack" in refused.err
    assert "python3 -m venv --system-site-packages" in refused.err
    assert {path.name for path in bundle.iterdir()} == before
    assert cxredge("verify", bundle).code == 0, "its ONNX files serve as before"


@pytest.mark.usefixtures("on_board")
def test_when_nothing_can_be_built_that_is_the_failure(
    cxredge: Run, bundle: Path, fake: Fake
) -> None:
    fake("10.3.0").build_fails = True
    refused = cxredge("build", bundle)
    assert refused.code == 1
    assert "TensorRT 10.3.0 cannot build" in refused.err
    assert plans(bundle) == {}
    assert not (bundle / "passport.json").exists()
    assert cxredge("verify", bundle).code == 0, "its ONNX files are still whole"


@pytest.mark.usefixtures("on_board")
def test_an_engine_that_computes_something_else_does_not_ship(
    cxredge: Run, bundle: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake("10.3.0")
    build = engines.build_engine

    def wrong(onnx: Path, plan: Path, settings, progress):
        if settings.precision is Precision.FP16:
            onnx = upside_down(onnx, plan.parent / "wrong.onnx")
        return build(onnx, plan, settings, progress)

    monkeypatch.setattr(engines, "build_engine", wrong)
    found = finish(cxredge, bundle).json
    passed = {c["precision"]: c["passed"] for c in found["candidates"]}
    assert passed == {"fp32": True, "fp16": False, "int8": True}
    assert "fp16 gives other results on this machine" in found["reason"]
    facts = read_facts(bundle / "model-fp16.plan")
    assert facts is not None
    assert facts.golden["passed"] is False
    assert cxredge("verify", bundle).code == 3


def upside_down(path: Path, out: Path) -> Path:
    """Write a model whose logits have the other sign."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name.startswith("head"):
            values = -numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(values), tensor.name))
    onnx.save(model, out)
    return out


@pytest.mark.usefixtures("on_board")
def test_a_build_on_the_board_itself_ends_with_engines(
    cxredge: Run, model: Path, calibration: Path, fake: Fake, tmp_path: Path
) -> None:
    fake("10.3.0")
    ran = build_from(cxredge, model, calibration, tmp_path / "bundle")
    assert ran.code == 0, ran.err
    assert "This is its device" in ran.err
    assert ran.json["finished_here"] is True
    assert ran.json["engine"].endswith(".plan")
    first = plans(tmp_path / "bundle")
    assert set(first) == ALL
    again = build_from(cxredge, model, calibration, tmp_path / "bundle")
    assert again.code == 0, again.err
    assert plans(tmp_path / "bundle") == first


def test_timings_are_not_kept_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert engines._cache_folder() is None


def settings_of(bundle: Path, precision: str) -> dict[str, object]:
    facts = read_facts(bundle / f"model-{precision}.plan")
    assert facts is not None
    return dict(facts.settings)


@pytest.mark.usefixtures("on_board")
def test_what_is_asked_of_engines_is_packed_and_may_be_changed_on_the_board(
    cxredge: Run, model: Path, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "this_machine", lambda: "x86_64")
    bundle = tmp_path / "bundle"
    ran = cxredge(
        "build", model, "--target", "jetson-orin-nano", "--precision", "fp16", "--out", bundle,
        "--batch", "1,4,16", "--optimization-level", 5, "--version-compatible", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    line = ran.json["trtexec"]["fp16"]
    for part in ("--maxShapes=image:16x1x64x64", "--builderOptimizationLevel=5", "--versionComp"):
        assert part in line
    assert line in (bundle / "recipe.txt").read_text()
    monkeypatch.setattr(registry, "this_machine", lambda: "aarch64")
    world = fake("10.3.0")
    finish(cxredge, bundle)
    asked = {"batches": [1, 4, 16], "optimization_level": 5, "version_compatible": True}
    assert asked.items() <= settings_of(bundle, "fp16").items()
    assert settings_of(bundle, "fp16")["workspace_mb"] == 7990 // 4
    assert [shapes[2][0] for shapes in world.seen["profiles"]] == [1, 4, 16]
    assert "VERSION_COMPATIBLE" in world.seen["flags"]
    finish(cxredge, bundle, "--batch", "2", "--workspace-mb", 100, "--no-version-compatible")
    changed = {"batches": [2], "workspace_mb": 100, "version_compatible": False}
    assert (asked | changed).items() <= settings_of(bundle, "fp16").items()
    assert world.seen["pools"] == {"WORKSPACE": 100_000_000}
    fake("8.5.2")
    refused = cxredge("build", bundle)
    assert refused.code == 1
    assert "TensorRT 8.5.2 has no optimization levels: they came with 8.6" in refused.err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--batch", "8,1"), "Batch sizes 8, 1 are not ascending"),
        (("--batch", "many"), "'many' is no list of numbers"),
        (("--optimization-level", "9"), "Optimization level 9 is not 0 to 5"),
        (("--workspace-mb", "0"), "A workspace of 0 MB"),
        (("--compute-capability", "8.7"), "is for --target rtx"),
        (("--legacy-calibration", "list.csv"), "is for finishing a bundle on its device"),
    ],
)
def test_what_no_engine_can_be_is_refused_before_anything_is_done(
    option: tuple[str, str], message: str, cxredge: Run, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    ran = cxredge("build", model, "--target", "jetson-orin-nano", "--out", out, *option)
    assert ran.code == 2
    assert message in ran.err
    assert not out.exists()


def test_a_board_whose_tensorrt_is_too_old_is_told_before(
    cxredge: Run, model: Path, tmp_path: Path
) -> None:
    refused = cxredge(
        "build", model, "--target", "jetson-xavier-nx", "--optimization-level", 3, "--out",
        tmp_path / "bundle",
    )  # fmt: skip
    assert refused.code == 2
    assert "the newest for jetson-xavier-nx is 8.5.2" in refused.err


@pytest.mark.usefixtures("on_board")
def test_timings_are_kept_by_version_gpu_and_board(
    cxredge: Run, bundle: Path, fake: Fake, timings: Path, tmp_path: Path, monkeypatch
) -> None:
    world = fake("10.3.0", FakeGpu(name="Orin (nvgpu)"))
    finish(cxredge, bundle)
    board = "nvidia-jetson-orin-nano-engineering-reference-developer-kit-super"
    first = f"tensorrt-10.3.0-sm8.7-orin-nvgpu-{board}.cache"
    assert [path.name for path in timings.iterdir()] == [first]
    facts = read_facts(bundle / "model-fp32.plan")
    assert facts is not None
    assert (facts.board or "").startswith("NVIDIA Jetson Orin Nano")
    assert (facts.l4t, facts.jetpack) == ("36.4.3", "6.1 to 6.2.2")
    (timings / first).unlink()
    (bundle / "model-fp32.plan").unlink()
    finish(cxredge, bundle)
    assert world.seen["timing cache"].startswith(b"timings after"), "a container has lost its home"
    other = {**ORIN_NANO_SUPER, "proc/device-tree/model": "NVIDIA Jetson Orin Nano 4GB\0"}
    monkeypatch.setattr(registry, "ROOT", tree(tmp_path / "other", other))
    for plan in bundle.glob("*.plan"):
        plan.unlink()
    finish(cxredge, bundle)
    assert len(list(timings.iterdir())) == 2, "another board, whose GPU has the same name"
    assert {path.name for path in timings.iterdir()} == {p.name for p in bundle.glob("*.cache")}
    fresh = deliver(bundle, tmp_path / "copy", Silent())
    assert list(fresh.glob("*.cache")) == [], "they are no part of what is carried"


@pytest.mark.usefixtures("on_board")
def test_tensorrts_own_calibrator_can_be_asked_for(
    cxredge: Run, bundle: Path, fake: Fake, calibration: Path, timings: Path, tmp_path: Path
) -> None:
    world = fake("10.3.0")
    finish(cxredge, bundle)
    explicit = plans(bundle)
    ran = cxredge("build", bundle, "--legacy-calibration", calibration, "--json")
    assert ran.code == 0, ran.err
    assert "the gate's figures are those of cxredge's own INT8" in ran.err
    assert plans(bundle)["model-int8.plan"] > explicit["model-int8.plan"]
    assert plans(bundle)["model-fp32.plan"] == explicit["model-fp32.plan"]
    assert settings_of(bundle, "int8")["legacy_calibration"] is True
    replays = {r["precision"]: r for r in cxredge("verify", bundle, "--json").json["replays"]}
    assert {p: r["expected"] for p, r in replays.items()} == {
        "fp32": "fp32", "fp16": "fp16", "int8": "fp32",
    }  # fmt: skip
    facts = read_facts(bundle / "model-int8.plan")
    assert facts is not None
    assert facts.parents["onnx"] == open_bundle(bundle).card.files["model-fp32.onnx"]
    assert len(world.seen["calibration sums"]) == 3, "24 images, 8 at a time"
    (table,) = timings.glob("*.table")
    kept = plans(bundle)
    again = finish(cxredge, bundle, "--legacy-calibration", calibration)
    assert "model-int8.plan is up to date" in again.err
    assert plans(bundle) == kept
    fewer = write_manifest(tmp_path / "fewer.csv", read_manifest(calibration).entries[:16])
    finish(cxredge, bundle, "--legacy-calibration", fewer.path)
    assert plans(bundle)["model-int8.plan"] > kept["model-int8.plan"], "other images"
    assert table.is_file()
    assert len(list(timings.glob("*.table"))) == 2
    fake("11.4.0.106")
    refused = cxredge("build", bundle, "--legacy-calibration", calibration, "--precision", "int8")
    assert refused.code == 1
    assert "cannot calibrate a strongly typed network" in refused.err


@pytest.mark.usefixtures("on_board")
def test_an_engine_for_which_there_is_no_room_leaves_nothing(
    cxredge: Run, bundle: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake("10.3.0")
    usage = shutil.disk_usage(bundle)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    refused = cxredge("build", bundle)
    assert refused.code == 1
    assert "There is no room for the engine model-fp32.plan: it needs up to" in refused.err
    assert plans(bundle) == {}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cxredge.backends.tensorrt.builder.write_facts", full)
    refused = cxredge("build", bundle)
    assert refused.code == 1
    assert "There is no room for the engine" in refused.err
    assert plans(bundle) == {}, "no engine without its facts"
    assert not (bundle / "passport.json").exists()


def test_int8_of_a_runtime_that_goes_by_types_has_fp16_between_its_integers(
    cxredge: Run, model: Path, calibration: Path, tmp_path: Path, monkeypatch
) -> None:
    """What FP16 cannot hold stays FP32, and is said."""
    options = (
        "--target", "rtx", "--precision", "int8", "--calibration", calibration, "--effort",
        "quick", "--min-agreement", 0.5, "--max-accuracy-drop", 0.5,
    )  # fmt: skip
    ran = cxredge("build", model, *options, "--out", tmp_path / "typed", "--json")
    assert ran.code == 0, ran.err
    held = open_bundle(tmp_path / "typed").card.files
    assert engine_source(Precision.INT8, True, held) == "model-int8-fp16.onnx"
    assert engine_source(Precision.INT8, False, held) == "model-int8.onnx"

    def too_large(model: object) -> None:
        raise CxredgeError("'gemm' reaches 1e+05, and FP16 ends at 65504.")

    monkeypatch.setattr("cxredge.build.to_fp16", too_large)
    ran = cxredge("build", model, *options, "--out", tmp_path / "plain", "--json")
    assert "INT8 keeps FP32 between its integers: 'gemm' reaches 1e+05" in ran.err
    held = open_bundle(tmp_path / "plain").card.files
    assert engine_source(Precision.INT8, True, held) == "model-int8.onnx"


class TestBuiltAhead:
    """TensorRT for RTX builds without a GPU; the GPU that comes later finds its engine."""

    @pytest.fixture
    def rtx(self, cxredge: Run, model: Path, fake: Fake, tmp_path: Path, monkeypatch) -> Path:
        monkeypatch.setattr(registry, "ROOT", tmp_path / "no-driver")
        monkeypatch.setattr(registry, "this_machine", lambda: "x86_64")
        fake("rtx")
        out = tmp_path / "bundle"
        ran = cxredge(
            "build", model, "--target", "rtx", "--precision", "fp16", "--out", out,
            "--compute-capability", "8.6, 8.9,8.6", "--archive", "--json",
        )  # fmt: skip
        assert ran.code == 0, ran.err
        assert [engine["file"] for engine in ran.json["engines"]] == [
            "model-fp32-sm86.plan", "model-fp32-sm89.plan", "model-fp16-sm86.plan",
            "model-fp16-sm89.plan",
        ]  # fmt: skip
        assert ran.json["finished_here"] is False
        driver = {"proc/driver/nvidia/version": "a driver"}
        monkeypatch.setattr(registry, "ROOT", tree(tmp_path / "pc", driver))
        return out

    def test_the_card_lists_them(self, rtx: Path, cxredge: Run) -> None:
        files = open_bundle(rtx).card.files
        assert {"model-fp16-sm86.plan", "model-fp16-sm86.plan.json"} <= set(files)
        facts = read_facts(rtx / "model-fp16-sm89.plan")
        assert facts is not None
        assert (facts.compute_capability, facts.gpu) == ("8.9", None)
        assert cxredge("verify", rtx.with_name("bundle.tar")).code == 0

    def test_the_right_one_is_picked(self, rtx: Path, cxredge: Run, fake: Fake) -> None:
        fake("rtx", FakeGpu((8, 9), "NVIDIA GeForce RTX 4060", integrated=False))
        ran = finish(cxredge, rtx)
        assert ran.err.count("Took model-fp") == 2
        assert "Building" not in ran.err
        for name in ("fp32", "fp16"):
            taken, packed = rtx / f"model-{name}.plan", rtx / f"model-{name}-sm89.plan"
            assert taken.read_bytes() == packed.read_bytes()
        assert open_bundle(rtx).backend == "tensorrt-rtx"
        assert finish(cxredge, rtx).err.count("is up to date") == 2
        assert cxredge("verify", rtx).code == 0
        assert cxredge("inspect", rtx / "model-fp16.plan", "--json").json["fits_here"] is True
        other = cxredge("inspect", rtx / "model-fp16-sm86.plan", "--json").json
        assert "built for compute capability 8.6 (ahead of time)" in other["why_not"]

    def test_another_gpu_or_another_wish_builds_its_own(
        self, rtx: Path, cxredge: Run, fake: Fake
    ) -> None:
        fake("rtx", FakeGpu((12, 0), "NVIDIA GeForce RTX 5090", integrated=False))
        assert "Building model-fp16.plan" in finish(cxredge, rtx).err
        fake("rtx", FakeGpu((8, 6), "NVIDIA GeForce RTX 3060", integrated=False))
        assert "Building model-fp16.plan" in finish(cxredge, rtx, "--batch", "1,2").err
        assert "Took model-fp16-sm86.plan" in finish(cxredge, rtx).err

    def test_a_changed_one_is_refused(self, rtx: Path, cxredge: Run, fake: Fake) -> None:
        fake("rtx", FakeGpu((8, 6), "NVIDIA GeForce RTX 3060", integrated=False))
        plan = rtx / "model-fp16-sm86.plan"
        plan.write_bytes(plan.read_bytes() + b" ")
        refused = cxredge("build", rtx)
        assert refused.code == 1
        assert f"{plan} is damaged" in refused.err

    def test_engines_that_carry_code_are_not_packed(
        self, cxredge: Run, model: Path, fake: Fake, tmp_path: Path
    ) -> None:
        fake("rtx")
        refused = cxredge(
            "build", model, "--target", "rtx", "--compute-capability", "8.6",
            "--version-compatible", "--out", tmp_path / "out",
        )  # fmt: skip
        assert refused.code == 2
        assert "carry code" in refused.err
