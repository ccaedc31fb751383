"""Controls in a build: on the card, in its outcome, and as a reason to refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cxredge.artifacts.card import CARD_NAME, read_card
from cxredge.artifacts.records import from_json
from cxredge.build.held_out import infer_split
from cxredge.build.speed import Variant
from cxredge.bundle.bundle import open_bundle
from cxredge.bundle.card import BundleCard, BundleFacts
from cxredge.data.manifest import Manifest, read_manifest
from cxredge.data.phantom_controls import KINDS
from cxredge.progress import Silent
from cxredge.vocabulary import Precision
from tests.conftest import Ran, Run
from tests.control_images import EACH, with_controls

LOOSE = ("--min-agreement", 0.5, "--max-accuracy-drop", 0.5)


@pytest.fixture(scope="module")
def listed(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_controls(manifest, tmp_path_factory.mktemp("controls"))


@pytest.fixture(scope="module")
def ran(
    model: Path, calibration: Path, listed: Path, tmp_path_factory: pytest.TempPathFactory,
    cxredge: Run,
) -> tuple[Ran, Path]:  # fmt: skip
    out = tmp_path_factory.mktemp("built") / "bundle"
    found = cxredge(
        "build", model, "--calibration", calibration, "--evaluate", listed, "--out", out, *LOOSE
    )
    assert found.code == 0, found.err
    return found, out


def test_controls_of_every_precision_are_on_the_card(ran: tuple[Ran, Path], listed: Path) -> None:
    bundle, controls = open_bundle(ran[1]), read_manifest(listed).controls
    classes = bundle.card.classifier.classes
    for precision in bundle.precisions:
        gate = bundle.card.facts.gate_of(precision, bundle.backend)
        assert {kind: found.images for kind, found in gate.controls.items()} == dict.fromkeys(
            KINDS, EACH
        )
        point = bundle.operating_point(precision)
        variant = Variant("onnxruntime", precision, bundle.model_of(precision))
        fp32 = Variant("onnxruntime", Precision.FP32, bundle.model_of(Precision.FP32))
        outputs = infer_split(controls, [fp32, variant], bundle.card.classifier, Silent()).outputs[
            variant
        ]
        refused = point.refused(outputs.distances)
        assert refused is not None
        for kind, found in gate.controls.items():
            own = [n for n, entry in enumerate(controls) if entry.finding == kind]
            assert found.refused == refused[own].sum()
            decisions = [classes[outputs.logits[n].argmax()] for n in own if not refused[n]]
            assert found.called == {name: decisions.count(name) for name in classes}
        assert gate.unfamiliar
        assert gate.unfamiliar.images == gate.images + EACH * len(KINDS)
    assert bundle.card.facts.gate[Precision.FP32].unfamiliar.alike == gate.unfamiliar.images


def test_controls_are_no_images_of_the_data_on_the_card(
    ran: tuple[Ran, Path], manifest: Manifest
) -> None:
    facts = read_card(ran[1], BundleCard).facts
    assert {split.value: dict(found) for split, found in facts.data.items()} == manifest.counts()


def test_the_outcome_begins_with_the_controls(ran: tuple[Ran, Path]) -> None:
    lines = ran[0].out.splitlines()
    assert all(line.startswith(f"Of {EACH} ") for line in lines[: len(KINDS)])
    assert lines[len(KINDS)] == ""
    assert "controls called a class: lateral" in ran[0].out
    assert "Refused as unfamiliar: " in ran[0].out


def test_a_limit_on_controls_refuses_every_precision(
    model: Path, calibration: Path, listed: Path, tmp_path: Path, cxredge: Run
) -> None:
    found = cxredge(
        "build", model, "--calibration", calibration, "--evaluate", listed,
        "--out", tmp_path / "bundle", *LOOSE, "--familiar-share", 1, "--max-control-rate", 0,
        "--json",
    )  # fmt: skip
    assert found.code == 3
    assert "controls called a class: " in found.json["error"]
    assert "(at most 0)" in found.json["error"]
    assert "--max-control-rate" in found.json["hint"]
    assert not (tmp_path / "bundle").exists()


def test_a_card_of_an_earlier_version_is_read(ran: tuple[Ran, Path]) -> None:
    values = json.loads((ran[1] / CARD_NAME).read_text())
    assert values["config"].pop("refusals") == {
        "max_control_rate": None,
        "min_refusal_agreement": 0.97,
    }
    facts = values["facts"]
    for gate in [*facts["gate"].values(), *facts["gate_by_runtime"]["onnxruntime"].values()]:
        del gate["unfamiliar"], gate["controls"]
        old = ("refusal_agreement", "control_rate")
        gate["checks"] = [check for check in gate["checks"] if check["measure"] not in old]
    card = from_json(values, BundleCard, "card", "")
    assert isinstance(card.facts, BundleFacts)
    assert list(card.contradictions()) == []
