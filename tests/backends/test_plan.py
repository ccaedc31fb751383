"""Engine files: described, and refused with a reason, without loading them."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cxredge.artifacts.hashing import sha256_of_file
from cxredge.backends.cuda.driver import Gpu
from cxredge.backends.tensorrt.api import Flavour, load_api, numbers
from cxredge.backends.tensorrt.builder import build_engine
from cxredge.backends.tensorrt.engine_file import PlanHeader, read_engine_file, read_header
from cxredge.backends.tensorrt.facts import facts_path, read_facts, write_facts
from cxredge.backends.tensorrt.mismatch import Installation, explain_mismatch
from cxredge.backends.tensorrt.session import TensorRTSession
from cxredge.backends.tensorrt.settings import EngineConfig
from cxredge.errors import ArtifactError, CxredgeError, DependencyError
from cxredge.vocabulary import Precision
from tests.backends.conftest import Fake
from tests.backends.fake_cuda import FakeGpu
from tests.conftest import Run

ORIN = Gpu("Orin", "8.7", 7990, "12.6", integrated=True)
XAVIER = Gpu("Xavier", "7.2", 7990, "11.4", integrated=True)
RTX = Gpu("NVIDIA GeForce RTX 3060", "8.6", 12000, "13.0", integrated=False)


def plan_bytes(magic: bytes, *version: int) -> bytes:
    return magic + bytes(20) + bytes(version) + b"the rest"


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (plan_bytes(b"ftrt", 10, 3, 0, 26), PlanHeader(Flavour.TENSORRT, "10.3.0.26")),
        (plan_bytes(b"vtrt", 1, 7, 1, 116), PlanHeader(Flavour.RTX, "1.7.1.116")),
        (plan_bytes(b"PK\3\4", 1, 2, 3, 4), None),
        (b"ftrt" + b"\1" * 40, None),
    ],
)
def test_a_header_is_read(content: bytes, header: PlanHeader | None, tmp_path: Path) -> None:
    path = tmp_path / "m.plan"
    path.write_bytes(content)
    assert read_header(path) == header


@pytest.mark.parametrize("content", [b"", b"ftrt", b"ftrt" + bytes(23)])
def test_a_truncated_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.plan"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{len(content)} bytes: it is truncated"):
        read_header(path)


def test_what_is_no_engine_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.plan"
    with pytest.raises(ArtifactError, match=r"m\.plan does not exist"):
        read_engine_file(path)
    os.mkfifo(path)
    with pytest.raises(ArtifactError, match="pipe"):
        read_engine_file(path)
    path.unlink()
    path.write_bytes(bytes(100))
    with pytest.raises(ArtifactError, match=r"no TensorRT header, and .*is missing.*deploy"):
        read_engine_file(path)


def test_the_facts_describe_an_engine_with_an_unknown_header(orin_plan: Path) -> None:
    """Engines of TensorRT 8.5 may begin otherwise."""
    facts = read_engine_file(orin_plan).facts
    assert facts is not None
    orin_plan.write_bytes(bytes(40))
    sha256 = sha256_of_file(orin_plan)
    write_facts(orin_plan, replace(facts, size_bytes=40, plan_sha256=sha256))
    found = read_engine_file(orin_plan)
    assert found.header == PlanHeader(Flavour.TENSORRT, facts.version)


@pytest.fixture
def orin_plan(fake: Fake, fp32: Path, tmp_path: Path) -> Path:
    """An engine of TensorRT 10.3 for an Orin, with its facts."""
    fake("10.3.0", FakeGpu((8, 7), "Orin"))
    path = tmp_path / "bundle" / "m.plan"
    build_engine(fp32, path, EngineConfig(Precision.FP32))
    return path


@pytest.mark.parametrize(
    ("here", "sentence", "command"),
    [
        (Installation({Flavour.TENSORRT: "10.3.0"}, ORIN), None, ""),
        (Installation({Flavour.TENSORRT: "10.3.0.26"}, ORIN), None, ""),
        (
            Installation({Flavour.TENSORRT: "10.7.0"}, ORIN),
            "m.plan was built with TensorRT 10.3.0.0; this device has 10.7.0.",
            "cxredge deploy",
        ),
        (
            Installation({Flavour.RTX: "1.7.1"}, ORIN),
            "m.plan needs TensorRT 10.3.0.0, which is not installed here.",
            "cxredge doctor",
        ),
        (
            Installation({Flavour.TENSORRT: "10.3.0"}, XAVIER),
            "m.plan was built for compute capability 8.7 (Orin); this GPU is Xavier with 7.2.",
            "cxredge deploy",
        ),
        (
            Installation({Flavour.TENSORRT: "10.3.0"}, Gpu("Other", "8.7", 1, "12.6", True)),
            "m.plan was built on Orin; this GPU is Other, on which it may be slow or inaccurate.",
            "cxredge deploy",
        ),
        (
            Installation({Flavour.TENSORRT: "10.3.0"}, None),
            "m.plan needs an NVIDIA GPU, and none is usable here.",
            "cxredge doctor",
        ),
    ],
)
def test_a_mismatch_has_a_sentence_and_a_command(
    here: Installation, sentence: str | None, command: str, orin_plan: Path
) -> None:
    why = explain_mismatch(read_engine_file(orin_plan), here)
    assert (why.message if why else None) == sentence
    assert command in (why.hint if why else "")


def test_without_facts_the_header_shows_the_version(orin_plan: Path) -> None:
    facts_path(orin_plan).unlink()
    here = Installation({Flavour.TENSORRT: "8.6.1"}, XAVIER)
    why = explain_mismatch(read_engine_file(orin_plan), here)
    assert "was built with TensorRT 10.3.0.0; this device has 8.6.1" in str(why)
    assert (
        explain_mismatch(
            read_engine_file(orin_plan), Installation({Flavour.TENSORRT: "10.3.0"}, XAVIER)
        )
        is None
    )


@pytest.mark.parametrize(
    ("written", "running", "fits"),
    [
        ("10.3.0", "10.7.0", True),
        ("10.3.0", "11.0.0", True),
        ("8.6.1", "10.3.0", True),
        ("8.6.1", "11.0.0", False),
        ("10.7.0", "10.3.0", False),
    ],
)
def test_version_compatible_engines_load_in_newer_versions(
    written: str, running: str, fits: bool, fake: Fake, fp32: Path, tmp_path: Path
) -> None:
    fake(written)
    path = tmp_path / "m.plan"
    build_engine(fp32, path, EngineConfig(Precision.FP32, version_compatible=True))
    here = Installation({Flavour.TENSORRT: running}, ORIN)
    assert (explain_mismatch(read_engine_file(path), here) is None) is fits


def test_an_unknown_header_is_replaced_by_the_facts(orin_plan: Path) -> None:
    content = b"????" + orin_plan.read_bytes()[4:]
    body = json.loads(facts_path(orin_plan).read_text())
    orin_plan.write_bytes(content)
    with pytest.raises(ArtifactError, match="differs"):
        read_engine_file(orin_plan)
    import hashlib

    body["plan_sha256"] = hashlib.sha256(content).hexdigest()
    facts_path(orin_plan).write_text(json.dumps(body))
    assert read_engine_file(orin_plan).header == PlanHeader(Flavour.TENSORRT, "10.3.0")
    facts_path(orin_plan).unlink()
    with pytest.raises(ArtifactError, match="has no TensorRT header"):
        read_engine_file(orin_plan)


@pytest.mark.parametrize("body", ["{}", "[]", '{"schema": "cxredge.engine/1"}', "{"])
def test_damaged_facts_are_refused(body: str, orin_plan: Path) -> None:
    facts_path(orin_plan).write_text(body)
    with pytest.raises(ArtifactError):
        read_facts(orin_plan)


def test_inspect_describes_an_engine(orin_plan: Path, fake: Fake, cxredge: Run) -> None:
    found = cxredge("inspect", orin_plan, "--json").json
    assert (found["kind"], found["product"], found["version"]) == (
        "engine", "TensorRT", "10.3.0.0",
    )  # fmt: skip
    assert found["fits_here"] is True
    assert found["passport"]["settings"]["precision"] == "fp32"
    assert {(one["target"], one["extent"]) for one in found["tried"]} == {
        ("jetson-orin-nano", "never"), ("jetson-orin-nx", "never"), ("jetson-agx-orin", "never"),
    }  # fmt: skip
    fake("10.16.1.11")
    found = cxredge("inspect", orin_plan, "--json").json
    assert found["fits_here"] is False
    assert "built with TensorRT 10.3.0.0; this device has 10.16.1.11" in found["why_not"]
    assert found["next"] == f"Build it here: cxredge deploy {orin_plan.parent}"
    ran = cxredge("inspect", orin_plan)
    assert ran.code == 0
    for words in (
        "why_not: m.plan was built with",
        "compute capability: 8.7",
        "batches: 1, 2 to 8",
    ):
        assert words in ran.out
    assert "plan_sha256" in cxredge("inspect", orin_plan, "-v").out
    facts_path(orin_plan).unlink()
    assert "passport: missing" in cxredge("inspect", orin_plan).out


def test_inspect_needs_no_tensorrt(
    orin_plan: Path, cxredge: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    for passport in ("there", "lost"):
        if passport == "lost":
            facts_path(orin_plan).unlink()
        ran = cxredge("inspect", orin_plan)
        assert ran.code == 0, ran.err
        assert "made_with: TensorRT 10.3.0.0" in ran.out
        assert "why_not: m.plan needs TensorRT 10.3.0.0, which is not installed here." in ran.out
        assert "next: Install it or see what is missing: cxredge doctor" in ran.out


def test_a_mismatch_is_found_before_loading(orin_plan: Path, fake: Fake) -> None:
    world = fake("11.4.0.106")
    with pytest.raises(ArtifactError, match=r"this device has 11.4.0.106"):
        TensorRTSession(orin_plan)
    assert not hasattr(world, "library"), "no memory was opened"


def test_an_old_version_is_refused(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    world = fake("8.5.2")
    world.trt.__version__ = "8.2.1.8"
    with pytest.raises(DependencyError, match=r"TensorRT 8\.2\.1\.8 is installed.*8\.5 or newer"):
        load_api()


@pytest.mark.parametrize(
    ("flavour", "command"), [(Flavour.RTX, r"cxredge\[rtx\]"), (None, "system-site-packages")]
)
def test_a_missing_version_is_reported(flavour, command: str, fake: Fake, monkeypatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(CxredgeError, match=command):
        load_api(flavour)


def test_versions_are_compared_as_numbers() -> None:
    assert numbers("10.16.1.11") > numbers("10.3.0")
    assert numbers("10.3.0.post1") == (10, 3, 0)
    assert numbers("unknown") == ()


def test_boards_whose_gpus_share_a_name_are_distinguished(orin_plan: Path) -> None:
    facts = read_facts(orin_plan)
    assert facts is not None
    write_facts(orin_plan, replace(facts, board="Orin Nano"))
    versions = {Flavour.TENSORRT: "10.3.0"}
    assert (
        explain_mismatch(read_engine_file(orin_plan), Installation(versions, ORIN, "Orin Nano"))
        is None
    )
    why = explain_mismatch(read_engine_file(orin_plan), Installation(versions, ORIN, "AGX Orin"))
    assert why is not None
    assert "was built on Orin Nano; this is AGX Orin" in why.message
    assert f"cxredge deploy {orin_plan.parent}" in why.hint
