"""Several runtimes on one processor: what build finds, who serves, and what moves with a bundle."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxredge.artifacts.card import read_card
from cxredge.backends import reduced_precisions
from cxredge.backends.base import Outputs
from cxredge.backends.openvino import OpenVinoSession
from cxredge.build.held_out import SplitOutputs, judge
from cxredge.build.speed import Variant
from cxredge.bundle.bundle import open_bundle, read_golden
from cxredge.bundle.card import BundleCard
from cxredge.bundle.serving import Speed, Throughput
from cxredge.gate.gate import GateResult
from cxredge.metrics.latency import summarise
from cxredge.vocabulary import Precision

OPENVINO_INT8 = ("openvino", "int8")

pytestmark = pytest.mark.usefixtures("openvino")


@pytest.fixture
def fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO's INT8 is the fastest, with two images at a time on one thread each."""

    def speeds(variants: Sequence[Variant], *_: object) -> dict[Variant, Speed]:
        milliseconds = {
            v: 1.0 if (v.backend, v.precision.value) == OPENVINO_INT8 else 5.0 for v in variants
        }
        return {
            v: Speed(summarise([ms] * 50), 1, Throughput(1000 / ms, 1, 2, 4))
            for v, ms in milliseconds.items()
        }

    monkeypatch.setattr("cxredge.build.measure.measure_speeds", speeds)
    monkeypatch.setattr("cxredge.build.finish.measure_speeds", speeds)


@pytest.fixture
def served(cxredge, model: Path, calibration: Path, tmp_path: Path, fastest: None) -> Path:
    """A bundle that OpenVINO's INT8 serves."""
    ran = build(cxredge, model, calibration, tmp_path / "bundle")
    assert ran.code == 0, ran.err
    assert (ran.json["backend"], ran.json["precision"]) == OPENVINO_INT8
    assert (ran.json["threads"], ran.json["throughput"]["batch"]) == (1, 4)
    # FP32 also takes its time, five times INT8's, for the near ties.
    near = next(
        c["near_ties"]
        for c in ran.json["candidates"]
        if (c["backend"], c["precision"]) == OPENVINO_INT8
    )
    beside = f" with fp32 for near ties ({100 * near:.1f}%)" if near else ""
    faster = f"{5 / (1 + 5 * near):.2f} times as fast as fp32"
    assert (
        f"int8 in OpenVINO{beside} is the fastest that passes the gate, {faster}"
        in (ran.json["reason"])
    )
    return tmp_path / "bundle"


def build(cxredge, model: Path, calibration: Path, out: Path, *more: object):
    return cxredge(
        "build", model, "--calibration", calibration, "--out", out, "--min-agreement", 0.5,
        "--max-accuracy-drop", 0.5, "--json", *more,
    )  # fmt: skip


def titles(candidates: Sequence[Mapping]) -> set[tuple[str, str]]:
    return {(c["backend"], c["precision"]) for c in candidates}


def take_openvino_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("cxredge.backends.openvino.is_installed", lambda: False)


def test_build_measures_every_precision_of_every_runtime(
    cxredge, model: Path, calibration: Path, tmp_path: Path
) -> None:
    ran = build(cxredge, model, calibration, tmp_path / "bundle")
    assert ran.code == 0, ran.err
    reduced = {("openvino", p.value) for p in reduced_precisions("openvino")} & {
        ("openvino", "bf16")
    }
    both = {(b, p) for b in ("onnxruntime", "openvino") for p in ("fp32", "int8")}
    assert titles(ran.json["candidates"]) == both | reduced
    for candidate in ran.json["candidates"]:
        assert candidate["latency_ms"]["p50"] > 0
        assert candidate["throughput"]["images_per_second"] > 0
        assert candidate["threads"] >= 1
    passport = json.loads((tmp_path / "bundle" / "passport.json").read_text())
    assert passport["backend"] == ran.json["backend"]
    assert titles(passport["candidates"]) == titles(ran.json["candidates"])
    assert {p.name for p in (tmp_path / "bundle").glob("*.onnx")} == {
        "model-fp32.onnx", "model-int8.onnx",
    }  # fmt: skip


def test_every_command_takes_the_runtime_that_serves(
    cxredge, served: Path, phantoms: Path, tmp_path: Path
) -> None:
    bundle = open_bundle(served)
    with bundle.open() as session:
        assert (session.spec.backend, session.spec.threads, session.spec.batch) == (
            "openvino",
            1,
            1,
        )
    with bundle.open_for_many() as session:
        assert (session.spec.backend, session.spec.threads, session.spec.batch) == (
            "openvino",
            1,
            4,
        )
    rows = tmp_path / "p.csv"
    predicted = cxredge("predict", served, phantoms / "images", "--out", rows, "--json")
    assert predicted.code == 0, predicted.err
    assert predicted.json["ok"] + predicted.json["unfamiliar"] == predicted.json["images"] > 0
    evaluated = cxredge("evaluate", served, phantoms / "manifest.csv", "--json")
    assert evaluated.json["backend"] == "openvino"
    assert evaluated.json["agreement_fp32"] > 0.9
    benched = cxredge("bench", served, "--seconds", 0, "--queries", 5, "--json")
    assert benched.code == 0, benched.err
    assert benched.json["backend"] == "openvino"
    assert cxredge("verify", served).code == 0
    assert cxredge("inspect", served).code == 0
    page = tmp_path / "report.md"
    reported = cxredge("report", served, "--out", page)
    assert reported.code == 0, reported.err
    assert "OpenVINO" in page.read_text()


def test_without_openvino_the_next_command_is_named_and_works(
    cxredge, served: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_openvino_away(monkeypatch)
    inputs = ("predict", served, phantoms / "images", "--out", tmp_path / "p.csv")
    for command in (inputs, ("verify", served), ("bench", served, "--seconds", 0)):
        refused = cxredge(*command)
        assert refused.code == 1
        assert "OpenVINO is required and not installed" in refused.err
        assert "cxredge deploy BUNDLE" in refused.err
    assert not (tmp_path / "p.csv").exists()
    reported = cxredge("report", served, "--out", tmp_path / "report.html")
    assert reported.code == 0, reported.err
    finished = cxredge("build", served, "--json")
    assert finished.code == 0, finished.err
    assert finished.json["backend"] == "onnxruntime"
    assert cxredge(*inputs).code == 0


def test_bf16_serves_where_the_processor_has_it(
    cxredge, model: Path, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if Precision.BF16 not in reduced_precisions("openvino"):
        pytest.skip("needs a processor with BF16")
    out = tmp_path / "bundle"
    ran = build(cxredge, model, calibration, out, "--precision", "bf16")
    assert ran.code == 0, ran.err
    assert (ran.json["backend"], ran.json["precision"]) == ("openvino", "bf16")
    assert ran.json["engine"].endswith("model-fp32.onnx")
    assert set(open_bundle(out).thresholds) == set(read_card(out, BundleCard).classifier.classes)
    assert cxredge("verify", out).code == 0
    take_openvino_away(monkeypatch)
    assert cxredge("report", out, "--out", tmp_path / "report.md").code == 0
    finished = cxredge("build", out, "--json")
    assert finished.code == 0, finished.err
    assert (finished.json["backend"], finished.json["precision"]) == ("onnxruntime", "fp32")


def test_a_precision_that_no_runtime_has_is_refused(
    cxredge, model: Path, calibration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_openvino_away(monkeypatch)
    refused = build(cxredge, model, calibration, tmp_path / "b", "--precision", "bf16")
    assert refused.code == 1
    assert "No runtime on this machine supports bf16" in refused.err
    assert "pip install 'cxredge[openvino]'" in refused.err
    assert not (tmp_path / "b").exists()


def test_what_the_gate_refused_in_one_runtime_stays_refused_there(
    cxredge, model: Path, calibration: Path, tmp_path: Path, fastest: None, monkeypatch
) -> None:
    """On the device the golden images come out right, and the gate's verdict is remembered."""

    def misjudge(variant: Variant, seen: SplitOutputs, *rest: Any) -> GateResult:
        if (variant.backend, variant.precision.value) == OPENVINO_INT8:
            wrong = replace(seen.outputs[variant], logits=-seen.logits[variant])
            seen = replace(seen, outputs={**seen.outputs, variant: wrong})
        return judge(variant, seen, *rest)

    monkeypatch.setattr("cxredge.build.measure.judge", misjudge)
    ran = build(cxredge, model, calibration, tmp_path / "bundle")
    assert ran.code == 0, ran.err
    assert (ran.json["backend"], ran.json["precision"]) != OPENVINO_INT8
    finished = cxredge("build", tmp_path / "bundle", "--json")
    assert finished.code == 0, finished.err
    assert (finished.json["backend"], finished.json["precision"]) != OPENVINO_INT8
    assert "int8 in OpenVINO was refused" in finished.json["reason"]


def test_each_runtime_has_golden_answers_of_its_own(
    cxredge, model: Path, calibration: Path, tmp_path: Path, fastest: None
) -> None:
    """Runtimes round INT8 differently; what one gives is no measure of another's health."""
    # Without a cascade: FP32 would answer near ties.
    ran = build(cxredge, model, calibration, tmp_path / "bundle", "--no-cascade")
    assert (ran.json["backend"], ran.json["precision"]) == OPENVINO_INT8
    bundle = open_bundle(tmp_path / "bundle")
    golden = read_golden(bundle)
    first = golden.logits[Precision.INT8]
    assert golden.expected(Precision.INT8, "openvino").logits is not first
    with bundle.open() as session:
        found = session.infer(golden.pixels)
    assert np.abs(found - golden.expected(Precision.INT8, "openvino").logits).max() < 1e-3


def test_a_runtime_that_comes_later_has_to_give_what_the_first_one_gave(
    cxredge, model: Path, calibration: Path, tmp_path: Path, fastest: None, monkeypatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr("cxredge.backends.openvino.is_installed", lambda: False)
        assert build(cxredge, model, calibration, tmp_path / "bundle").code == 0
    good = cxredge("build", tmp_path / "bundle", "--json")
    assert (good.json["backend"], good.json["precision"]) == OPENVINO_INT8
    run = OpenVinoSession.run

    def negated(session: OpenVinoSession, images: np.ndarray) -> Outputs:
        found = run(session, images)
        return replace(found, logits=-found.logits)

    monkeypatch.setattr(OpenVinoSession, "run", negated)
    wrong = cxredge("build", tmp_path / "bundle", "--json")
    assert wrong.json["backend"] == "onnxruntime"
    assert "int8 in OpenVINO has different results on this machine" in wrong.json["reason"]


def test_a_runtime_that_the_target_has_not_is_refused(cxredge, served: Path) -> None:
    passport = json.loads((served / "passport.json").read_text())
    passport["backend"] = "tensorrt"
    (served / "passport.json").write_text(json.dumps(passport))
    refused = cxredge("verify", served)
    assert refused.code == 1
    assert "names the runtime 'tensorrt'" in refused.err
    assert f"cxredge deploy {served}" in refused.err
