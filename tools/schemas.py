"""Write the JSON Schemas of the files that cxredge writes.

Run it after a record has changed: ``make schemas``, which is ``python -m tools.schemas``. The
schemas are generated from the records that read the files, so that they cannot drift apart;
``tests/test_schemas.py`` checks that the committed ones are current.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from cxredge.artifacts.card import SCHEMAS, Card
from cxredge.artifacts.model_card import MODEL_CARDS
from cxredge.artifacts.records import Sha256
from cxredge.artifacts.run_card import RunCard
from cxredge.artifacts.training_images import TrainingImages
from cxredge.bundle.card import BundleCard
from cxredge.bundle.passport import Passport
from cxredge.data.audit_record import AuditFile
from cxredge.gate.gate import GateResult
from cxredge.gate.limits import LimitCheck
from cxredge.metrics.latency import Latency
from cxredge.metrics.near_ties import NearTies
from cxredge.results.bench import BenchResult
from cxredge.results.evaluation import Evaluation
from cxredge.triton.record import ExportRecord

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"

DOCUMENTS: dict[str, Sequence[type[Any]]] = {
    "run-card": (RunCard,),
    "model-card": MODEL_CARDS,
    "bundle-card": (BundleCard,),
    "passport": (Passport,),
    "training-images": (TrainingImages,),
    "audit": (AuditFile,),
    "evaluation": (Evaluation,),
    "bench": (BenchResult,),
    "triton-export": (ExportRecord,),
}
"""By name of the schema's file, the records of which a document is one."""

WITH_DERIVED_VALUES: Sequence[type[Any]] = (GateResult, Latency, LimitCheck, NearTies)
"""Records whose files repeat properties; ``JSON_KEYS`` lists them."""


def document_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a document."""
    records = DOCUMENTS[name]
    references, components = msgspec.json.schema_components(records, ref_template="#/$defs/{name}")
    for record in WITH_DERIVED_VALUES:
        if record.__name__ in components:
            _add_derived_values(components[record.__name__], record)
    for record in records:
        if issubclass(record, Card):
            _add_header(components[record.__name__], record)
    body = references[0] if len(references) == 1 else {"anyOf": list(references)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"cxredge {name.replace('-', ' ')}",
        **body,
        "$defs": components,
    }


def text_of(name: str) -> str:
    """Return the content of a schema's file."""
    return json.dumps(document_schema(name), indent=2) + "\n"


def write_schemas() -> None:
    """Write all schemas to ``docs/schemas``."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in DOCUMENTS:
        (FOLDER / f"{name}.json").write_text(text_of(name), encoding="utf-8")


def _add_derived_values(component: dict[str, Any], record: type[Any]) -> None:
    fields = component["properties"]
    component["properties"] = {
        key: fields[key] if key in fields else _property_schema(getattr(record, key))
        for key in record.JSON_KEYS
    }
    component["required"] = list(record.JSON_KEYS)


def _property_schema(derived: property) -> dict[str, Any]:
    return msgspec.json.schema(get_type_hints(derived.fget)["return"])


def _add_header(component: dict[str, Any], card: type[Card[Any, Any]]) -> None:
    """Add the keys of a card that are not fields of its record."""
    header = {"schema": {"const": SCHEMAS[card.kind]}, "kind": {"const": card.kind.value}}
    end = {"card_sha256": msgspec.json.schema(Sha256)}
    component["properties"] = {**header, **component["properties"], **end}
    component["required"] = [*header, *component["required"], *end]
    component["additionalProperties"] = False


if __name__ == "__main__":
    write_schemas()
