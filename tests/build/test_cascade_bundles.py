"""Bundles whose near ties FP32 decides: built, predicted, evaluated, timed and told."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxredge.artifacts.card import read_card, write_card
from cxredge.build.speed import Variant
from cxredge.bundle.bundle import Bundle, open_bundle
from cxredge.bundle.card import BundleCard
from cxredge.bundle.serving import Speed
from cxredge.gate.gate import GateResult
from cxredge.metrics.latency import summarise
from cxredge.targets.precision import uses_cascade
from cxredge.targets.registry import find_target
from cxredge.vocabulary import Precision, Split
from tests.builds import build
from tests.predictions import read_rows


@pytest.fixture(scope="session")
def cascade_built(tmp_path_factory, model: Path, calibration: Path, cxredge) -> Path:
    """A bundle that FP32 takes part in. Shared: copy it before changing it."""
    out = tmp_path_factory.mktemp("cascade") / "bundle"
    ran = build(cxredge, model, calibration, out, "--precision", "int8", "--effort", "quick")
    assert ran.code == 0, ran.err
    return out


@pytest.fixture(scope="session")
def alone_built(tmp_path_factory, model: Path, calibration: Path, cxredge) -> Path:
    """A bundle whose INT8 decides all. Shared: copy it before changing it."""
    out = tmp_path_factory.mktemp("alone") / "bundle"
    ran = build(
        cxredge, model, calibration, out, "--no-cascade", "--precision", "int8", "--effort", "quick"
    )
    assert ran.code == 0, ran.err
    return out


LIMITLESS = [
    *("--max-auroc-drop", "1", "--max-sensitivity-drop", "1"),
    *("--max-calibration-error-rise", "1", "--min-agreement", "0", "--max-accuracy-drop", "1"),
]

WithMargin = Callable[[float], Path]


@pytest.fixture
def with_margin(cascade_built: Path, tmp_path: Path) -> WithMargin:
    """Give a copy of the bundle another margin: the phantoms have few near ties.

    None of them is near the limit of familiar images.
    """

    def changed(margin: float) -> Path:
        out = Path(shutil.copytree(cascade_built, tmp_path / f"within-{margin}"))
        card = read_card(out, BundleCard)

        def changed_gates(gates: Mapping[Precision, GateResult]) -> dict[Precision, GateResult]:
            int8 = gates[Precision.INT8]
            near_ties = replace(int8.near_ties, margin=margin)
            return {**gates, Precision.INT8: replace(int8, near_ties=near_ties)}

        points = {
            backend: {precision: replace(one, distance_shift=0.0) for precision, one in of.items()}
            for backend, of in card.facts.operating_points.items()
        }
        facts = replace(
            card.facts,
            gate=changed_gates(card.facts.gate),
            gate_by_runtime={k: changed_gates(v) for k, v in card.facts.gate_by_runtime.items()},
            operating_points=points,
        )
        (out / "passport.json").unlink()
        write_card(out, replace(card, facts=facts))
        return out

    return changed


def golden(bundle: Bundle) -> np.ndarray:
    with np.load(bundle.path / "golden.npz") as stored:
        return np.array(stored["pixels"])


def logits(bundle: Bundle, precision: Precision | None = None) -> np.ndarray:
    with bundle.open(precision) as session:
        return session.infer(golden(bundle))


def test_the_margin_on_the_card_is_how_far_int8_moves_validation_images(
    cascade_built: Path,
) -> None:
    bundle = open_bundle(cascade_built)
    gate = bundle.card.facts.gate[Precision.INT8]
    assert bundle.precision is Precision.INT8
    assert gate.cascade is True
    assert bundle.card.facts.gate[Precision.FP32].cascade is False
    assert bundle.cascade_margin == gate.near_ties.margin > 0
    images = sum(bundle.card.facts.data[Split.VAL].values())
    assert gate.near_ties.validation_images == images


def test_with_a_wide_margin_fp32_decides_all_and_with_none_int8_does(
    with_margin: WithMargin,
) -> None:
    wide, none = open_bundle(with_margin(1e3)), open_bundle(with_margin(0.0))
    assert np.array_equal(logits(wide), logits(wide, Precision.FP32))
    assert np.array_equal(logits(none), logits(wide, Precision.INT8))
    assert not np.array_equal(logits(wide), logits(none))


def test_settings_for_many_images_hold_for_both(with_margin: WithMargin) -> None:
    with open_bundle(with_margin(0.1)).open_for_many() as session:
        assert session.cascade is not None
        assert session.spec.concurrent
        assert session.spec.threads == 1


def test_near_ties_are_counted_and_no_error_of_any_row(
    with_margin: WithMargin, phantoms: Path, tmp_path: Path, cxredge
) -> None:
    out = tmp_path / "p.csv"
    images = (phantoms / "images", "--answer-all", "--out", out)
    every = cxredge("predict", with_margin(1e3), *images, "--json").json
    assert every["near_ties"] == every["images"] > 0
    errors = {"", "Predicted, but doubtful: unfamiliar."}
    assert {row["error"] for row in read_rows(out)} <= errors
    assert {row["status"] for row in read_rows(out)} == {"ok"}
    said = cxredge("predict", with_margin(1e4), *images).out
    assert f"Near ties that FP32 decided: {every['images']}." in said
    bundle = with_margin(0.0)
    none = cxredge("predict", bundle, *images, "--json").json
    assert none["near_ties"] == 0


def test_rows_are_fp32s_where_fp32_decides(
    with_margin: WithMargin, built: Path, phantoms: Path, tmp_path: Path, cxredge
) -> None:
    wide, alone = tmp_path / "wide.csv", tmp_path / "fp32.csv"
    images = (phantoms / "images", "--answer-all")
    cxredge("predict", with_margin(1e3), *images, "--out", wide)
    fp32 = Path(shutil.copytree(built, tmp_path / "fp32"))
    assert cxredge("build", fp32, "--precision", "fp32").code == 0
    cxredge("predict", fp32, *images, "--out", alone)
    for one, other in zip(read_rows(wide), read_rows(alone), strict=True):
        assert (one["label"], one["set"]) == (other["label"], other["set"])
        assert float(one["familiarity"]) == pytest.approx(float(other["familiarity"]), rel=1e-3)
        assert float(one["probability"]) == pytest.approx(float(other["probability"]), abs=1e-5)


def test_a_bundle_without_says_nothing_of_near_ties(
    alone_built: Path, phantoms: Path, tmp_path: Path, cxredge
) -> None:
    out = tmp_path / "p.csv"
    ran = cxredge("predict", alone_built, phantoms / "images", "--out", out, "--json")
    assert ran.json["near_ties"] is None
    assert open_bundle(alone_built).cascade_margin is None


def test_a_report_on_both_tells_them_apart(
    alone_built: Path, cascade_built: Path, tmp_path: Path, cxredge
) -> None:
    ran = cxredge("report", alone_built, cascade_built, "--out", tmp_path / "r.md")
    assert ran.code == 0, ran.err
    lines = (tmp_path / "r.md").read_text().splitlines()
    row = next(line for line in lines if line.startswith("| precision | "))
    alone, beside = row.removeprefix("| precision | ").removesuffix(" |").split(" | ")
    assert "near ties" not in alone
    assert beside == "INT8, and FP32 for its near ties"


def test_evaluation_and_benchmark_are_of_what_serves(
    with_margin: WithMargin, phantoms: Path, tmp_path: Path, cxredge
) -> None:
    wide = with_margin(1e3)
    found = cxredge("evaluate", wide, phantoms / "manifest.csv", "--json").json
    assert found["cascade"] == {"margin": 1e3, "images": found["images"], "near": found["images"]}
    assert found["flipped"] == []
    assert found["accuracy"] == found["accuracy_fp32"]
    said = cxredge("evaluate", wide, phantoms / "manifest.csv").out
    assert f"Near ties that FP32 decided: {found['images']} of {found['images']} (100.0%)." in said
    timed = cxredge(
        "bench", wide, "--images", phantoms / "images", "--seconds", 0, "--queries", 20, "--json"
    ).json
    assert timed["cascade"]["near"] == timed["cascade"]["images"] > 20
    assert timed["accuracy"]["golden"]["passed"], "the golden outputs are INT8's alone"
    report = tmp_path / "r.md"
    assert cxredge("report", wide, "--out", report).code == 0
    every = f"FP32 decided {found['images']} of {found['images']} images (100.0%), the near ties."
    assert every in report.read_text()
    assert "INT8, and FP32 for its near ties" in report.read_text()
    assert "FP32 decided 100.0% of them, the near ties" in report.read_text()
    assert " --cascade --out BUNDLE" in report.read_text()
    assert "model-int8.onnx and model-fp32.onnx" in report.read_text(), "what is loaded"


def test_a_precision_has_to_pass_by_itself(
    careless_int8: None, model: Path, calibration: Path, tmp_path: Path, cxredge
) -> None:
    arguments = ["--precision", "int8", "--effort", "quick", "--cascade"]
    base = ["build", model, "--calibration", calibration, "--json", *arguments]
    refused = cxredge(*base, "--out", tmp_path / "refused", "--min-agreement", "0.99")
    assert refused.code == 3
    gate = json.loads(refused.out)["gate"]
    assert gate["agreement"] < 0.99
    assert gate["near_ties"]["agreement"] == 1.0, "though FP32 would make up for it"
    allowed = build(cxredge, model, calibration, tmp_path / "allowed", *arguments, *LIMITLESS)
    assert allowed.code == 0, allowed.err
    assert allowed.json["gate"]["flipped"], "still the results of INT8 alone"
    assert (
        "FP32 decides the near ties: agreement is then 100.0%"
        in cxredge("build", tmp_path / "allowed").out
    )


def test_auto_counts_fp32s_time_in(
    careless_int8: None, model: Path, calibration: Path, tmp_path: Path, cxredge, monkeypatch
) -> None:
    def fast_int8(variants: Sequence[Variant], *_: object) -> dict[Variant, Speed]:
        ms = {Precision.FP32: 5.0, Precision.INT8: 1.0}
        return {v: Speed(summarise([ms[v.precision]] * 50), 1) for v in variants}

    monkeypatch.setattr("cxredge.build.measure.measure_speeds", fast_int8)
    monkeypatch.setattr("cxredge.build.finish.measure_speeds", fast_int8)
    ran = build(cxredge, model, calibration, tmp_path / "b", "--effort", "quick", *LIMITLESS)
    assert ran.code == 0, ran.err
    shares = {c["precision"]: c["near_ties"] for c in ran.json["candidates"]}
    assert shares["fp32"] == 0.0
    assert shares["int8"] > 0.9
    assert ran.json["precision"] == "fp32", "INT8 and then FP32 for all is slower than FP32"


def test_bundles_with_and_without_are_not_taken_for_each_other(
    cascade_built: Path, model: Path, calibration: Path, tmp_path: Path, cxredge
) -> None:
    out = Path(shutil.copytree(cascade_built, tmp_path / "bundle"))
    quick = ("--precision", "int8", "--effort", "quick")
    again = build(cxredge, model, calibration, out, *quick)
    assert "up to date" in again.err
    assert open_bundle(out).cascade_margin is not None
    without = build(cxredge, model, calibration, out, *quick, "--no-cascade")
    assert "up to date" not in without.err
    assert open_bundle(out).cascade_margin is None


def test_effect_of_a_cascade_is_reported_before_and_after(
    cascade_built: Path, model: Path, calibration: Path, phantoms: Path, tmp_path: Path, cxredge
) -> None:
    quantized = cxredge(
        "quantize", model, "--calibration", calibration, "--evaluate", phantoms / "manifest.csv",
        "--effort", "quick", "--out", tmp_path / "int8",
    )  # fmt: skip
    words = "If FP32 decides the near ties (the default of bundles for targets that run cxredge): "
    assert words + "agreement is then 100.0%" in quantized.out
    expected = re.search(r"(\d+\.\d) of the \d+ decisions are expected to differ", quantized.out)
    assert expected is not None
    found = json.loads((tmp_path / "int8" / "quantization.json").read_text())["comparison"]
    assert float(expected[1]) == round(found["near_ties"]["expected_flips"], 1)
    report = tmp_path / "r.md"
    assert cxredge("report", cascade_built, "--out", report).code == 0
    assert "Near ties of INT8" in report.read_text()
    assert "FP32 decides the near ties: the agreement is then 100.0%" in report.read_text()
    assert "decisions are expected to differ if INT8 decides alone" in report.read_text()


@pytest.mark.parametrize(
    ("target", "precision", "requested", "expected"),
    [
        ("cpu-x86", None, None, True),
        ("cpu-x86", Precision.INT8, True, True),
        ("cpu-x86", Precision.INT8, False, False),
        ("cpu-x86", Precision.FP32, None, False),
        ("jetson-orin-nano", Precision.FP16, None, True),
        ("jetson-xavier-nx", None, None, False),
    ],
)
def test_fp32_decides_near_ties_if_it_can_on_the_target(
    target: str, precision: Precision | None, requested: bool | None, expected: bool
) -> None:
    assert uses_cascade(find_target(target), precision, requested) is expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--precision", "fp32"], "--precision fp32 has none"),
        (["--target", "jetson-xavier-nx"], "does not run on jetson-xavier-nx"),
    ],
)
def test_cascade_without_effect_is_refused(
    arguments: list[str], words: str, model: Path, calibration: Path, tmp_path: Path, cxredge
) -> None:
    ran = build(cxredge, model, calibration, tmp_path / "b", "--cascade", *arguments)
    assert ran.code == 2
    assert words in ran.err
    assert not (tmp_path / "b").exists()
