"""Engines that cannot be built or compute other results: omitted, with the reason."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cxredge.backends.tensorrt.facts import facts_path, read_facts
from cxredge.build import engines
from cxredge.vocabulary import Precision
from tests.backends.bundles.board_builds import finish, plans
from tests.backends.conftest import Fake
from tests.conftest import Run


@pytest.fixture
def no_int8(cannot_build: Callable[[Precision], None]) -> None:
    """INT8 engines cannot be built."""
    cannot_build(Precision.INT8)


@pytest.mark.usefixtures("on_board", "no_int8")
def test_an_engine_that_cannot_be_built_is_omitted_with_the_reason(
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
    assert "int8 has no engine on this machine: no kernel fits" in cxredge("deploy", bundle).out
    assert [r["precision"] for r in cxredge("verify", bundle, "--json").json["replays"]] == [
        "fp32", "fp16",
    ]  # fmt: skip
    assert cxredge("evaluate", bundle, phantoms / "manifest.csv", "--json").code == 0
    forced = cxredge("deploy", bundle, "--precision", "int8")
    assert forced.code == 1
    assert "no kernel fits" in forced.err


@pytest.mark.usefixtures("on_board")
def test_a_missing_tensorrt_names_what_to_install(
    cxredge: Run, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    before = {path.name for path in bundle.iterdir()}
    refused = cxredge("deploy", bundle)
    assert refused.code == 1
    assert "Error: TensorRT cannot be imported here: " in refused.err
    assert "On a Jetson it comes with JetPack" in refused.err
    assert "python3 -m venv --system-site-packages" in refused.err
    assert {path.name for path in bundle.iterdir()} == before
    assert cxredge("verify", bundle).code == 0, "its ONNX files serve as before"


@pytest.mark.usefixtures("on_board")
def test_deploy_fails_if_no_engine_can_be_built(cxredge: Run, bundle: Path, fake: Fake) -> None:
    fake("10.3.0").build_fails = True
    refused = cxredge("deploy", bundle)
    assert refused.code == 1
    assert "TensorRT 10.3.0 cannot build" in refused.err
    assert plans(bundle) == {}
    assert not (bundle / "passport.json").exists()
    assert cxredge("verify", bundle).code == 0, "its ONNX files are still whole"


@pytest.mark.usefixtures("on_board")
def test_an_engine_with_other_results_does_not_serve(
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
    assert "fp16 has different results on this machine" in found["reason"]
    facts = read_facts(bundle / "model-fp16.plan")
    assert facts is not None
    assert facts.golden["passed"] is False
    assert cxredge("verify", bundle).code == 3


def upside_down(path: Path, out: Path) -> Path:
    """Write a model with negated logits."""
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
def test_a_full_disk_leaves_no_engine(
    cxredge: Run, bundle: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake("10.3.0")
    usage = shutil.disk_usage(bundle)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    refused = cxredge("deploy", bundle)
    assert refused.code == 1
    assert "There is no room for the engine model-fp32.plan: it needs up to" in refused.err
    assert plans(bundle) == {}
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cxredge.backends.tensorrt.builder.write_facts", full)
    refused = cxredge("deploy", bundle)
    assert refused.code == 1
    assert "There is no room for the engine" in refused.err
    assert plans(bundle) == {}, "no engine without its facts"
    assert not (bundle / "passport.json").exists()
