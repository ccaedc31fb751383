"""Deployment of a bundle and its use, on a fake board."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxredge.backends.tensorrt.facts import read_facts
from cxredge.bundle.archive import write_archive
from cxredge.bundle.bundle import open_bundle
from tests.backends.bundles.board_builds import ALL, build_from, finish, plans
from tests.backends.conftest import Fake
from tests.conftest import Run


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


@pytest.mark.usefixtures("on_board")
def test_a_bundle_is_deployed_and_served_on_the_board(
    cxredge: Run,
    bundle: Path,
    phantoms: Path,
    fake: Fake,
    timings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Long enough for twenty latencies where other work holds the processor.
    monkeypatch.setattr("cxredge.build.speed.LATENCY_S", 0.2)
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
        assert facts.settings.workspace_mb == 7990 // 4
        source = "int8" if candidate["precision"] == "int8" else "fp32"
        assert facts.parents["onnx"] == opened.card.files[f"model-{source}.onnx"]
    assert opened.passport is not None
    assert opened.passport.tools["tensorrt"] == "10.3.0"
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
def test_a_benchmark_compares_memory_transfers_and_times_layers(
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
    for words in ("GPU memory  p50 ms", "mapped", "slowest of 2 layers", "67%"):
        assert words in text
    mapped = cxredge(*quick, "--memory", "mapped", "--json").json
    assert mapped["engine"]["transfer"] == "mapped"
    assert (mapped["memory_ms"], mapped["layers_ms"]) == (None, None)
    assert mapped["result"] != found["result"], "neither overwrites the other"
    assert world.gpu.allocations == {}


@pytest.mark.usefixtures("on_board")
def test_a_build_on_the_board_includes_the_engines(
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
