"""Evaluation of a bundle on a manifest with controls."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxredge.bundle.bundle import open_bundle
from cxredge.data.manifest import Manifest, read_manifest, write_manifest
from cxredge.data.phantom_controls import KINDS
from cxredge.errors import ArtifactError
from cxredge.inference.rows import predict_one
from cxredge.results.read import read_result
from cxredge.vocabulary import Precision, Split
from tests.conftest import Run
from tests.control_images import EACH, with_controls


@pytest.fixture(scope="module")
def listed(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantoms' manifest with controls, sexes and ages; viral has a source of its own."""
    return with_controls(manifest, tmp_path_factory.mktemp("controls"))


@pytest.fixture(scope="module")
def evaluated(built: Path, listed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from cxredge.inference.evaluate import evaluate
    from cxredge.progress import Silent
    from cxredge.results.write import write_result

    out = tmp_path_factory.mktemp("result") / "evaluation.json"
    write_result(out, evaluate(open_bundle(built), read_manifest(listed), Split.TEST, Silent()))
    return out


def test_controls_are_called_and_refused_as_predict_does(
    built: Path, listed: Path, evaluated: Path
) -> None:
    found = json.loads(evaluated.read_text())["controls"]
    assert {kind: one["images"] for kind, one in found.items()} == dict.fromkeys(KINDS, EACH)
    bundle, controls = open_bundle(built), read_manifest(listed).controls
    with bundle.open() as session:
        rows = [predict_one(bundle, session, entry.path) for entry in controls]
    for kind, one in found.items():
        own = [row for row, entry in zip(rows, controls, strict=True) if entry.finding == kind]
        assert one["refused"] == sum(row.status == "unfamiliar" for row in own)
        for name, number in one["called"].items():
            assert number == sum(row.label == name for row in own)
        assert one["own_classes"] == ["viral"]


def test_refusals_of_test_images_are_those_of_predict(
    built: Path, listed: Path, evaluated: Path
) -> None:
    found = json.loads(evaluated.read_text())
    bundle, entries = open_bundle(built), read_manifest(listed).of(Split.TEST)
    with bundle.open() as session:
        rows = [predict_one(bundle, session, entry.path) for entry in entries]
    answered = [(row, e) for row, e in zip(rows, entries, strict=True) if row.status == "ok"]
    assert found["answered"]["refused"] == len(rows) - len(answered)
    right = sum(row.label == entry.label for row, entry in answered)
    assert found["answered"]["right"] == right
    assert found["answered"]["accuracy_answered"] == pytest.approx(right / len(answered))
    assert found["images"] == len(entries)
    assert set(found["by"]) == {"source", "sex", "age"}
    assert found["by"]["source"]["north"]["classes"] == {
        "viral": sum(entry.label == "viral" for entry in entries)
    }
    within = [(o["source"], o["class_name"], o["against"]) for o in found["auroc_within_source"]]
    assert within == [
        *(("north", "viral", kind) for kind in sorted(KINDS)),
        *(("south", name, "other classes") for name in ("bacterial", "covid19", "normal")),
    ]


def test_figures_of_the_classes_do_not_change_with_controls(
    built: Path, manifest: Manifest, evaluated: Path, cxredge: Run, tmp_path: Path
) -> None:
    ran = cxredge("evaluate", built, manifest.path, "--out", tmp_path / "plain.json", "--json")
    assert ran.code == 0, ran.err
    plain, found = ran.json, json.loads(evaluated.read_text())
    assert plain["controls"] == plain["controls_fp32"] == {}
    for key in ("accuracy", "confusion", "cascade", "agreement_fp32", "auroc", "patients"):
        assert plain[key] == found[key]


def test_the_sentence_comes_first_on_the_terminal(
    bundle: Path, listed: Path, cxredge: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "cxredge.bundle.operating_point.OperatingPoint.refused",
        lambda point, distances: np.zeros(len(distances), bool),
    )
    ran = cxredge("evaluate", bundle, listed)
    assert ran.code == 0, ran.err
    first = ran.out.splitlines()[0]
    assert first.startswith(f"Of {EACH} ")
    assert "viral's own source" in first
    assert "called viral" in ran.out
    assert "AUROC within the source" in ran.out
    assert "Refused as unfamiliar: 0 of" in ran.out


def test_a_manifest_without_labelled_images_of_the_split_is_refused(
    built: Path, listed: Path, cxredge: Run
) -> None:
    ran = cxredge("evaluate", built, listed, "--split", "control")
    assert ran.code == 2
    assert "'train', 'val', 'test'" in ran.err


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("controls", "lateral", "refused"), 3, "called a class or refused"),
        (("answered", "refused"), 99, "answers are right, of"),
        (("answered", "right"), 0, "accuracy_answered is not"),
        (("by", "sex", "F", "right"), 0, "by sex"),
        (("by", "sex", "F", "accuracy"), 0.123, "accuracy by sex is not"),
        (("called_by_source", 0, "called", "viral"), 99, "by source are called"),
        (("answered", "by_class", "viral", "images"), 1, "refusals by class"),
    ],
)
def test_an_edited_figure_is_refused(
    evaluated: Path, tmp_path: Path, keys: tuple[Any, ...], value: Any, words: str
) -> None:
    assert read_result(evaluated)
    values = json.loads(evaluated.read_text())
    del values["content_sha256"]
    inner = values
    for key in keys[:-1]:
        inner = inner[key]
    assert inner[keys[-1]] != value
    inner[keys[-1]] = value
    (tmp_path / "edited.json").write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match=words):
        read_result(tmp_path / "edited.json")


def test_controls_that_were_trained_on_are_reported(
    built: Path, manifest: Manifest, tmp_path: Path, cxredge: Run
) -> None:
    trained = replace(manifest.of(Split.TRAIN)[0], label="", split=Split.CONTROL, finding="ct")
    listed = write_manifest(tmp_path / "m.csv", [*manifest.of(Split.TEST), trained])
    ran = cxredge("evaluate", built, listed.path, "--out", tmp_path / "e.json", "--json")
    assert ran.code == 0, ran.err
    assert any("1 of the controls are training" in warning for warning in ran.json["warnings"])


def test_precision_of_the_bundle_and_fp32_are_measured(built: Path, evaluated: Path) -> None:
    found = read_result(evaluated)
    assert found.controls.keys() == found.controls_fp32.keys()
    assert open_bundle(built).precision in Precision
