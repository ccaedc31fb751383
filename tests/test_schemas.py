"""The JSON Schemas in ``docs/schemas``: current, and fitting the files that are written."""

import json
from pathlib import Path
from typing import Any

import pytest

from cxredge.artifacts.card import CARD_NAME, ClassifierSpec, write_card
from cxredge.artifacts.model_card import QuantizedCard
from cxredge.bundle.passport import PASSPORT_NAME
from cxredge.data.audit import audit_images
from cxredge.data.audit_record import write_audit
from cxredge.data.manifest import Manifest, write_manifest
from cxredge.progress import Silent
from tests.report.sample_bundles import quantized
from tools.schemas import DOCUMENTS, FOLDER, text_of

jsonschema = pytest.importorskip("jsonschema", reason="needs the dev extra")


def validate(name: str, document: Any) -> None:
    schema = json.loads((FOLDER / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_committed_schema_is_what_the_records_generate(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text() == text_of(name), "run: make schemas"


def test_every_schema_belongs_to_a_document() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(DOCUMENTS)


def test_the_card_of_a_model_fits(model: Path, tmp_path: Path) -> None:
    validate("model-card", read(model / CARD_NAME))


def test_the_card_of_a_quantized_model_fits(tmp_path: Path) -> None:
    classifier = ClassifierSpec("mobilenet_v1", ("a", "b"), 32, 0.5, 0.5, "grey-square/2")
    write_card(tmp_path, QuantizedCard(classifier, {}, *quantized()))
    validate("model-card", read(tmp_path / CARD_NAME))


def test_the_card_and_the_passport_of_a_bundle_fit(built: Path) -> None:
    validate("bundle-card", read(built / CARD_NAME))
    validate("passport", read(built / PASSPORT_NAME))


def test_the_audit_of_a_manifest_fits(manifest: Manifest, tmp_path: Path) -> None:
    listed = write_manifest(tmp_path / "manifest.csv", manifest.entries)
    validate("audit", read(write_audit(listed, audit_images(listed, Silent()))))


def test_results_fit(phantoms: Path, built: Path, tmp_path: Path, cxredge: Any) -> None:
    manifest, evaluation, bench = (
        phantoms / "manifest.csv",
        tmp_path / "e.json",
        tmp_path / "b.json",
    )
    quick = ("--seconds", 0, "--queries", 5, "--manifest", manifest)
    assert cxredge("evaluate", built, manifest, "--out", evaluation).code == 0
    assert cxredge("bench", built, *quick, "--out", bench).code == 0
    validate("evaluation", read(evaluation))
    validate("bench", read(bench))
    with pytest.raises(jsonschema.ValidationError):
        validate("evaluation", {**read(evaluation), "accuracy": "high"})


@pytest.mark.train
def test_the_card_of_a_run_fits(run_folder: Path) -> None:
    validate("run-card", read(run_folder / CARD_NAME))


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("facts", "gate", "fp32", "accuracy"), "high"),
        (("facts", "gate", "fp32", "near_ties", "images"), -1),
        (("config", "precision"), "int4"),
        (("kind",), "run"),
        (("surprise",), 1),
    ],
)
def test_a_changed_card_does_not_fit(built: Path, keys: tuple[str, ...], value: Any) -> None:
    card = read(built / CARD_NAME)
    inner = card
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        validate("bundle-card", card)
