from pathlib import Path

import pytest

from cxredge.errors import CxredgeError, WrongUsage
from cxredge.targets.engine_request import EngineRequest
from cxredge.targets.precision import require_precision
from cxredge.targets.record import Extent, JetPack, Note, version_of
from cxredge.targets.registry import all_targets, find_target
from cxredge.targets.toml_file import read_target
from cxredge.targets.trtexec import recipe, trtexec_line
from cxredge.vocabulary import Dialect, Precision

GOOD = """\
name = "box"
title = "A box"
backend = "onnxruntime"
dialect = "cpu"
precisions = ["int8", "fp32"]
machine = "aarch64"
[hardware]
compute_capabilities = []
int8 = true
fp16 = false
dla_cores = 0
memory_gb = [8]
[[notes]]
text = "None."
source = "nobody"
verified = false
[[verified]]
backend = "onnxruntime"
extent = "never"
how = "There is no such box."
"""


def test_all_targets_of_the_design_exist() -> None:
    assert set(all_targets()) == {
        "cpu-x86", "cpu-arm", "jetson-nano", "jetson-tx2", "jetson-xavier-nx",
        "jetson-agx-xavier", "jetson-orin-nano", "jetson-orin-nx", "jetson-agx-orin",
        "jetson-thor", "rtx",
    }  # fmt: skip


def test_no_target_offers_what_its_hardware_lacks() -> None:
    for target in all_targets().values():
        assert Precision.FP32 in target.precisions
        assert target.notes
        if target.backend == "tensorrt":
            assert target.dialect is Dialect.TENSORRT
            assert (Precision.INT8 in target.precisions) == target.hardware.int8
            assert (Precision.FP16 in target.precisions) == target.hardware.fp16
            assert target.hardware.compute_capabilities


def test_release_lines_are_in_order_and_do_not_overlap() -> None:
    for target in all_targets().values():
        starts = [line.l4t[0] for line in target.jetpack]
        assert starts == sorted(starts, key=version_of)
        for start in starts:
            assert sum(line.covers(start) for line in target.jetpack) == 1
        assert (target.detection is None) == (not target.jetpack)


@pytest.mark.parametrize(
    ("board", "l4t", "versions", "others"),
    [
        ("jetson-orin-nano", "36.5.2", "10.3.0 10.7.0", "10.6 10.13.3.9 11.4.0.106 11.4.1"),
        ("jetson-agx-orin", "39.2.1", "10.16.2 10.16.1.11 10.15.1.29", "10.13 11.4.1"),
        ("jetson-agx-orin", "39.2.2", "10.16.2 10.15 11.4.1.5", "10.7 11.0.0.114 11.4.0.106"),
        ("jetson-thor", "38.4.1", "10.13.3.9 10.15.1.29 10.16.2", "10.14.1 11.4.1"),
        ("jetson-xavier-nx", "35.6.5", "8.5.2", "8.6.1 10.7"),
    ],
)
def test_tensorrt_versions_that_run_on_a_release(
    board: str, l4t: str, versions: str, others: str
) -> None:
    line = find_target(board).jetpack_of(l4t)
    assert line is not None
    assert [v for v in versions.split() if not line.runs(v)] == []
    assert [v for v in others.split() if line.runs(v)] == []


def test_targets_without_supported_software() -> None:
    runs = {t.name for t in all_targets().values() if t.runs_cxredge}
    assert set(all_targets()) - runs == {
        "jetson-nano", "jetson-tx2", "jetson-xavier-nx", "jetson-agx-xavier",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("l4t", "versions"),
    [
        ("36.3", "6.0"), ("36.3.0", "6.0"), ("36.4", "6.1 to 6.2.x"), ("36.4.3", "6.1 to 6.2.x"),
        ("36.5.0", "6.1 to 6.2.x"), ("36.5.2", "6.1 to 6.2.x"), ("36.6.0", "6.1 to 6.2.x"),
        ("35.1.0", "5.0.2"), ("35.4.1", "5.1.x"), ("35.6.5", "5.1.x"), ("35.9", "5.1.x"),
        ("39.2.1", "7.2 and 7.2.1"), ("39.2.2", "7.2.2 or newer 7.2.x"),
        ("39.2.9", "7.2.2 or newer 7.2.x"), ("39.3.0", None), ("37.0", None), ("40.1", None),
    ],
)  # fmt: skip
def test_release_line_of_a_release(l4t: str, versions: str | None) -> None:
    line = find_target("jetson-orin-nano").jetpack_of(l4t)
    assert (line.versions if line else None) == versions


def test_versions() -> None:
    assert version_of("36.4.3-20250107174145") == (36, 4, 3)
    assert version_of("10.16.2") > version_of("10.3")
    assert version_of("none") == ()


def test_obstacles() -> None:
    line = JetPack("x", ("1.0", "1.1"), tensorrt="10.3", cuda="12.6", python="3.10")
    assert line.obstacle == ""
    assert "8.5 or newer" in JetPack("x", ("1.0", "1.1"), "8.4.1", "11.4", "3.10").obstacle
    assert "Python 3.8" in JetPack("x", ("1.0", "1.1"), "8.5.2", "11.4", "3.8").obstacle


@pytest.mark.parametrize(("name", "capability"), [("jetson-nano", "5.3"), ("jetson-tx2", "6.2")])
def test_int8_without_hardware_is_explained(name: str, capability: str) -> None:
    with pytest.raises(WrongUsage) as caught:
        require_precision(find_target(name), Precision.INT8)
    assert f"(compute capability {capability}) has no INT8 hardware" in caught.value.message
    assert "--precision fp16" in caught.value.hint
    for precision in (None, Precision.FP16, Precision.FP32):
        require_precision(find_target(name), precision)


def test_fp16_on_a_processor_is_refused() -> None:
    with pytest.raises(
        WrongUsage, match="does not support fp16; it supports auto, fp32, bf16, int8"
    ):
        require_precision(find_target("cpu-x86"), Precision.FP16)


def test_good_file() -> None:
    target = read_target(GOOD, "box.toml")
    assert target.precisions == (Precision.INT8, Precision.FP32)
    assert target.default_precision is Precision.INT8
    assert (target.hardware.memory_gb, target.jetpack, target.detection) == ((8,), (), None)
    assert target.notes == (Note("None.", "nobody", verified=False),)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "box"', 'name = "bax"', "'name' is 'bax'; expected the name of the file"),
        ('machine = "aarch64"', 'machine = "arm"', "'machine' is 'arm'; expected x86_64"),
        ('dialect = "cpu"', 'dialect = "cpo"', "'dialect' is 'cpo'; expected one of cpu, tensorrt"),
        ('["int8", "fp32"]', '["int8", 32]', "'precisions[1]' is 32; expected one of fp32"),
        ('["int8", "fp32"]', '"int8"', "'precisions' is 'int8'; expected an array"),
        ('["int8", "fp32"]', "[]", "'precisions' is empty; expected at least one"),
        ("int8 = true", "int8 = 1", "'hardware.int8' is 1; expected a value of type bool"),
        ("dla_cores = 0", "dla_cores = false", "'hardware.dla_cores' is False"),
        ("dla_cores = 0", "dla = 0", "'hardware.dla' is unknown; expected one of compute"),
        ("dla_cores = 0\n", "", "'hardware.dla_cores' is missing"),
        ('source = "nobody"\n', "", "'notes[0].source' is missing"),
        ('"never"', '"often"', "'verified[0].extent' is 'often'; expected one of ran, emulated"),
        ('backend = "onnxruntime"\nextent', 'backend = "other"\nextent',
         "'verified' is without 'onnxruntime'"),
        ("[8]", '["8"]', "'hardware.memory_gb[0]' is '8'; expected a value of type int"),
        ("[hardware]", "color = 1\n[hardware]", "'color' is unknown"),
        ("[hardware]", "[hardware", "is not valid TOML"),
        ("[hardware]", 'jetpack = [{versions = "1", l4t = ["1"], tensorrt = "1", cuda = "1", '
         'python = "3"}]\n[hardware]', "'jetpack[0].l4t' is 1 releases"),
    ],
)  # fmt: skip
def test_bad_file_names_file_and_key(old: str, new: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(CxredgeError) as caught:
        read_target(GOOD.replace(old, new), "box.toml")
    assert caught.value.message.startswith("box.toml")
    assert words in caught.value.message


def test_the_document_has_the_tests_of_the_targets() -> None:
    """If this fails, the message contains the required lines."""
    lines = [
        "| target | backend | tested | what ran, and how |",
        "| --- | --- | --- | --- |",
        *(
            f"| `{target.name}` | {trial.backend} | {trial.extent.value} | {trial.how} |"
            for target in all_targets().values()
            for trial in target.verified
        ),
    ]
    document = (Path(__file__).parents[2] / "docs/hardware.md").read_text(encoding="utf-8")
    table = "\n".join(lines)
    assert f"\n\n{table}\n\n" in document, table


def test_no_target_claims_that_tensorrt_ran() -> None:
    """TensorRT engines require a GPU that was not available: they were at most built."""
    for target in all_targets().values():
        ran = {trial.backend for trial in target.verified if trial.extent is Extent.RAN}
        assert "tensorrt" not in ran


def test_trtexec() -> None:
    request = EngineRequest(workspace_mb=1000, optimization_level=4, version_compatible=True)
    line = trtexec_line("b/model-int8.onnx", Precision.INT8, 224, request, "8.5.2")
    assert line == (
        "trtexec --onnx=b/model-int8.onnx --saveEngine=b/model-int8.engine --int8 --fp16 "
        "--minShapes=image:1x1x224x224 --optShapes=image:1x1x224x224 "
        "--maxShapes=image:8x1x224x224 --memPoolSize=workspace:953"
    )
    assert " --fp16 " in trtexec_line("m.onnx", Precision.FP16, 224, request, "8.2.1")
    assert " --workspace=953" in trtexec_line("m.onnx", Precision.FP16, 224, request, "8.2.1")
    assert "p16" not in trtexec_line("m.onnx", Precision.FP32, 224, request, "10.3")
    newer = trtexec_line("m.onnx", Precision.INT8, 224, request, "11.4.1")
    assert "--int8" not in newer
    assert newer.endswith("--builderOptimizationLevel=4 --versionCompatible")


def test_a_recipe_has_commands_for_each_release_line() -> None:
    files = {Precision.INT8: "model-int8.onnx", Precision.FP16: "model-fp16.onnx"}
    text = recipe(find_target("jetson-xavier-nx"), files, 224, EngineRequest())
    assert "int8 is the first choice" in text
    old, new = text.split("JetPack 5.1")
    assert "takes no uint8 input" in old
    assert new.count("trtexec --onnx=") == 2
    nano = recipe(
        find_target("jetson-nano"), {Precision.FP16: "model-fp16-float-input.onnx"}, 224,
        EngineRequest(),
    )  # fmt: skip
    assert nano.count("trtexec --onnx=model-fp16-float-input.onnx") == nano.count("JetPack")


def test_commands(cxredge, tmp_path: Path) -> None:
    listed = {row["name"]: row for row in cxredge("targets", "--json").json}
    assert listed["jetson-orin-nano"]["dialect"] == "tensorrt"
    assert sum(row["here"] for row in listed.values()) >= 1
    assert listed["jetson-thor"]["verified"][0]["extent"] == "never"
    shown = cxredge("targets", "show", "jetson-orin-nano", "--json").json
    assert shown == {k: v for k, v in listed["jetson-orin-nano"].items() if k != "here"}
    text = cxredge("targets", "show", "jetson-xavier-nx").out
    assert "Source: memory (not verified)." in text
    assert "5.1.x" in text
    assert "Tested, tensorrt: never. No Jetson was available." in text
    unknown = cxredge("targets", "show", "jetson-nono")
    assert unknown.code == 1
    assert "Did you mean 'jetson-nano'?" in unknown.err
    assert cxredge("targets", "--json", "show", "cpu-arm").code == 2
