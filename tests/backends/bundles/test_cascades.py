"""INT8 and FP32 engines that serve together, on a board that is not there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cxredge.backends.cascade import CascadeSession
from cxredge.backends.tensorrt.session import TensorRTSession
from cxredge.bundle import open_bundle
from cxredge.errors import CxredgeError
from cxredge.vocabulary import Precision
from tests.backends.bundles.board_builds import build_from, finish
from tests.backends.conftest import Fake
from tests.conftest import Run


@pytest.fixture(scope="session")
def packed_cascade(cxredge: Run, model: Path, calibration: Path, tmp_path_factory) -> Path:
    """A bundle for an Orin Nano that FP32 takes part in. Shared: copy it before changing it."""
    out = tmp_path_factory.mktemp("packed") / "cascade"
    ran = build_from(cxredge, model, calibration, out, "--cascade")
    assert ran.code == 0, ran.err
    return out


@pytest.fixture
def cascade(packed_cascade: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed_cascade, tmp_path / "cascade"))


@pytest.mark.usefixtures("on_board")
@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_both_engines_serve_and_are_freed(
    precision: str, cxredge: Run, cascade: Path, phantoms: Path, fake: Fake, tmp_path: Path
) -> None:
    world = fake("10.3.0")
    finish(cxredge, cascade, "--precision", precision)
    bundle = open_bundle(cascade)
    margin = bundle.card.facts["gate"][precision]["near_ties"]["margin"]
    for session in (bundle.open(), bundle.open_for_many()):
        with session:
            assert isinstance(session, CascadeSession)
            assert isinstance(session.first, TensorRTSession)
            assert session.margin == margin
            assert session.spec.backend == "tensorrt"
    rows = tmp_path / "p.csv"
    predicted = cxredge("predict", cascade, phantoms / "images", "--out", rows, "--json")
    assert predicted.json["near_ties"] is not None
    timed = cxredge("bench", cascade, "--seconds", 0, "--queries", 5, "--json")
    assert timed.code == 0, timed.err
    assert timed.json["cascade"]["images"] > 5
    assert timed.json["engine"]["transfer"] == "copy", "how the engine that sees all images ran"
    assert "host_to_device" in timed.json["stages_ms"]
    assert world.gpu.allocations == {}, "every session was closed"


@pytest.mark.usefixtures("on_board")
def test_without_an_fp32_engine_there_is_no_cascade(
    cxredge: Run, cascade: Path, fake: Fake, cannot_build: Callable[[Precision], None]
) -> None:
    fake("10.3.0")
    cannot_build(Precision.FP32)
    ran = cxredge("build", cascade)
    assert ran.code == 1
    assert "FP32 is to decide near ties and has no engine here: no kernel fits" in ran.err
    assert not (cascade / "passport.json").exists()


@pytest.mark.usefixtures("on_board")
def test_how_near_holds_for_our_own_int8_alone(
    cxredge: Run, cascade: Path, calibration: Path, fake: Fake
) -> None:
    fake("10.3.0")
    ran = cxredge("build", cascade, "--legacy-calibration", calibration)
    assert ran.code == 2
    assert "not with TensorRT's calibrator" in ran.err


@pytest.mark.usefixtures("on_board")
def test_a_second_engine_that_cannot_be_loaded_leaves_the_first_closed(
    cxredge: Run, cascade: Path, fake: Fake
) -> None:
    world = fake("10.3.0")
    finish(cxredge, cascade, "--precision", "int8")
    bundle = open_bundle(cascade)
    (cascade / "model-fp32.plan").write_bytes(b"damaged")
    for opened in (bundle.open, bundle.open_for_many):
        with pytest.raises(CxredgeError):
            opened()
    assert world.gpu.allocations == {}
