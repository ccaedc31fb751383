"""Options of engines: packed with the bundle, overridden on the board, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxredge.backends.tensorrt.facts import read_facts
from cxredge.bundle.bundle import open_bundle
from cxredge.data.manifest import read_manifest, write_manifest
from cxredge.targets import registry
from tests.backends.bundles.board_builds import finish, plans, settings_of
from tests.backends.conftest import Fake
from tests.conftest import Run


@pytest.mark.usefixtures("on_board")
def test_engine_options_are_packed_and_can_be_overridden_on_the_board(
    cxredge: Run, model: Path, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "this_machine", lambda: "x86_64")
    bundle = tmp_path / "bundle"
    ran = cxredge(
        "build", model, "--target", "jetson-orin-nano", "--precision", "fp16", "--out", bundle,
        "--batch", "1,4,16", "--optimization-level", 5, "--version-compatible", "--json",
        "--min-agreement", 0.5,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    line = ran.json["trtexec"]["fp16"]
    for part in ("--maxShapes=image:16x1x64x64", "--builderOptimizationLevel=5", "--versionComp"):
        assert part in line
    assert line in (bundle / "recipe.txt").read_text()
    monkeypatch.setattr(registry, "this_machine", lambda: "aarch64")
    world = fake("10.3.0")
    finish(cxredge, bundle)
    packed = {"batches": (1, 4, 16), "optimization_level": 5, "version_compatible": True}
    assert packed.items() <= settings_of(bundle, "fp16").items()
    assert settings_of(bundle, "fp16")["workspace_mb"] == 7990 // 4
    assert [shapes[2][0] for shapes in world.seen["profiles"]] == [1, 4, 16]
    assert "VERSION_COMPATIBLE" in world.seen["flags"]
    finish(cxredge, bundle, "--batch", "2", "--workspace-mb", 100, "--no-version-compatible")
    changed = {"batches": (2,), "workspace_mb": 100, "version_compatible": False}
    assert (packed | changed).items() <= settings_of(bundle, "fp16").items()
    assert world.seen["pools"] == {"WORKSPACE": 100_000_000}
    fake("8.5.2")
    refused = cxredge("deploy", bundle)
    assert refused.code == 1
    assert "TensorRT 8.5.2 has no optimization levels: they came with 8.6" in refused.err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--batch", "8,1"), "Batch sizes 8, 1 are not ascending"),
        (("--batch", "many"), "'many' is not a list of numbers"),
        (("--optimization-level", "9"), "Optimization level 9 is not 0 to 5"),
        (("--workspace-mb", "0"), "A workspace of 0 MB"),
        (("--compute-capability", "8.7"), "is for --target rtx"),
        (("--legacy-calibration", "list.csv"), "No such option: --legacy-calibration"),
    ],
)
def test_invalid_engine_options_are_refused_first(
    option: tuple[str, str], message: str, cxredge: Run, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    ran = cxredge("build", model, "--target", "jetson-orin-nano", "--out", out, *option)
    assert ran.code == 2
    assert message in ran.err
    assert not out.exists()


def test_options_that_the_boards_tensorrt_lacks_are_refused_first(
    cxredge: Run, model: Path, tmp_path: Path
) -> None:
    refused = cxredge(
        "build", model, "--target", "jetson-xavier-nx", "--optimization-level", 3, "--out",
        tmp_path / "bundle",
    )  # fmt: skip
    assert refused.code == 2
    assert "the newest for jetson-xavier-nx is 8.5.2" in refused.err


@pytest.mark.usefixtures("on_board")
def test_tensorrts_own_calibrator(
    cxredge: Run, bundle: Path, fake: Fake, calibration: Path, timings: Path, tmp_path: Path
) -> None:
    world = fake("10.3.0")
    finish(cxredge, bundle)
    explicit = plans(bundle)
    ran = cxredge("deploy", bundle, "--legacy-calibration", calibration, "--json")
    assert ran.code == 0, ran.err
    assert "those of cxredge's own INT8" in ran.err
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
    refused = cxredge("deploy", bundle, "--legacy-calibration", calibration, "--precision", "int8")
    assert refused.code == 1
    assert "cannot calibrate a strongly typed network" in refused.err
