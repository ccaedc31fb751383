"""What a second deploy keeps: intact engines that fit this machine, and kernel timings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cxredge.backends.tensorrt.facts import read_facts
from cxredge.build import engines
from cxredge.bundle.bundle import open_bundle
from cxredge.bundle.delivery import deliver
from cxredge.errors import ArtifactError
from cxredge.progress import Silent
from cxredge.targets import registry
from tests.backends.bundles.board_builds import ALL, finish, plans
from tests.backends.conftest import Fake
from tests.backends.fake_cuda import FakeGpu
from tests.conftest import Run
from tests.targets.boards import ORIN_NANO_SUPER, tree


@pytest.mark.usefixtures("on_board")
def test_engines_are_rebuilt_only_after_a_change(cxredge: Run, bundle: Path, fake: Fake) -> None:
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
    assert f"cxredge deploy {bundle}" in refused.err
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
def test_a_changed_engine_is_refused_until_it_is_rebuilt(
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
    assert f"cxredge deploy {bundle}" in refused.err
    finish(cxredge, bundle)
    assert cxredge("verify", bundle).code == 0
    assert others.items() <= plans(bundle).items(), "intact engines were kept"
    open_bundle(bundle).engine.unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        open_bundle(bundle)


@pytest.mark.usefixtures("on_board")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"engine": "model-int8.onnx"}, "names the engine 'model-int8.onnx'"),
        ({"engine": "../model-int8.plan"}, "names the engine"),
        ({"precision": "int4"}, "key 'precision': found 'int4'"),
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
    assert why.value.hint.endswith(f"cxredge deploy {bundle}")
    finish(cxredge, bundle)
    assert cxredge("verify", bundle).code == 0


def test_there_is_no_timing_cache_in_an_unwritable_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert engines._cache_folder() is None


@pytest.mark.usefixtures("on_board")
def test_timing_caches_are_kept_by_version_gpu_and_board(
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
    assert (facts.l4t, facts.jetpack) == ("36.4.3", "6.1 to 6.2.x")
    (timings / first).unlink()
    (bundle / "model-fp32.plan").unlink()
    finish(cxredge, bundle)
    assert world.seen["timing cache"].startswith(b"timings after"), "beside the engines"
    other = {**ORIN_NANO_SUPER, "proc/device-tree/model": "NVIDIA Jetson Orin Nano 4GB\0"}
    monkeypatch.setattr(registry, "ROOT", tree(tmp_path / "other", other))
    for plan in bundle.glob("*.plan"):
        plan.unlink()
    finish(cxredge, bundle)
    assert len(list(timings.iterdir())) == 2, "another board, whose GPU has the same name"
    assert {path.name for path in timings.iterdir()} == {p.name for p in bundle.glob("*.cache")}
    fresh = deliver(bundle, tmp_path / "copy", Silent(), lambda folder: None)
    assert list(fresh.glob("*.cache")) == [], "they are not packed"
