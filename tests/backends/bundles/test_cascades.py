"""Cascades of an INT8 and an FP32 engine, on a fake board."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cxredge.backends.tensorrt.session import TensorRTSession
from cxredge.bundle.bundle import open_bundle
from cxredge.errors import CxredgeError
from cxredge.vocabulary import Precision
from tests.backends.bundles.board_builds import finish
from tests.backends.conftest import Fake
from tests.conftest import Run


@pytest.mark.usefixtures("on_board")
@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_both_engines_serve_and_are_freed(
    precision: str, cxredge: Run, bundle: Path, phantoms: Path, fake: Fake, tmp_path: Path
) -> None:
    world = fake("10.3.0")
    finish(cxredge, bundle, "--precision", precision)
    finished = open_bundle(bundle)
    margin = finished.card.facts.gate[Precision(precision)].near_ties.margin
    for session in (finished.open(), finished.open_for_many()):
        with session:
            assert session.cascade is not None
            assert session.cascade.margin == margin
            assert isinstance(session.primary, TensorRTSession)
            assert session.primary is not session
            assert session.spec.backend == "tensorrt"
    rows = tmp_path / "p.csv"
    predicted = cxredge("predict", bundle, phantoms / "images", "--out", rows, "--json")
    assert predicted.code == 0, predicted.err
    assert predicted.json["near_ties"] is not None
    timed = cxredge("bench", bundle, "--seconds", 0, "--queries", 5, "--json")
    assert timed.code == 0, timed.err
    assert timed.json["cascade"]["images"] > 5
    assert timed.json["engine"]["transfer"] == "copy", "how the engine that sees all images ran"
    assert "host_to_device" in timed.json["stages_ms"]
    assert world.gpu.allocations == {}, "every session was closed"


@pytest.mark.usefixtures("on_board")
def test_without_an_fp32_engine_there_is_no_cascade(
    cxredge: Run, bundle: Path, fake: Fake, cannot_build: Callable[[Precision], None]
) -> None:
    fake("10.3.0")
    cannot_build(Precision.FP32)
    ran = cxredge("deploy", bundle)
    assert ran.code == 1
    assert "FP32 is required for near ties and has no engine here: no kernel fits" in ran.err
    assert not (bundle / "passport.json").exists()


@pytest.mark.usefixtures("on_board")
def test_the_margin_is_only_for_cxredges_own_int8(
    cxredge: Run, bundle: Path, calibration: Path, fake: Fake
) -> None:
    fake("10.3.0")
    finish(cxredge, bundle, "--precision", "int8")
    assert open_bundle(bundle).cascade_margin is not None
    calibrated = ("--precision", "int8", "--legacy-calibration", calibration)
    ran = finish(cxredge, bundle, *calibrated)
    assert "this INT8 decides all images alone" in ran.err
    assert {c["precision"]: c["near_ties"] for c in ran.json["candidates"]}["int8"] == 0.0
    finished = open_bundle(bundle)
    assert finished.cascade_margin is None
    with finished.open() as session:
        assert session.cascade is None


@pytest.mark.usefixtures("on_board")
def test_the_first_engine_is_closed_if_the_second_cannot_be_loaded(
    cxredge: Run, bundle: Path, fake: Fake
) -> None:
    world = fake("10.3.0")
    finish(cxredge, bundle, "--precision", "int8")
    finished = open_bundle(bundle)
    (bundle / "model-fp32.plan").write_bytes(b"damaged")
    for opened in (finished.open, finished.open_for_many):
        with pytest.raises(CxredgeError):
            opened()
    assert world.gpu.allocations == {}
