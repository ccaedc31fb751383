"""A small artifact, and what is done to it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxredge.artifacts.card import CARD_NAME, ArtifactKind, ClassifierSpec, StagePlan, write_card
from cxredge.artifacts.hashing import sha256_of_json
from cxredge.artifacts.model_card import ExportConfig, ExportedCard, ExportFacts

CLASSIFIER = ClassifierSpec("mobilenet_v1", ("normal", "röntgen"), 224, 0.5, 0.25, "grey-square/1")
PLAN = StagePlan(
    ArtifactKind.MODEL,
    CLASSIFIER,
    parents={"run": "ab" * 32},
    config=ExportConfig(17),
    tools={"cxredge": "1.0"},
)
CARD = ExportedCard.of(PLAN, ExportFacts(1e-6, 256, 0.9))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(bytes(range(256)))
    (folder / "deep" / "notes.txt").write_text("notes")
    write_card(folder, CARD)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def edit_card(folder: Path, change: Callable[[dict[str, Any]], None], sign: bool = False) -> None:
    body = json.loads((folder / CARD_NAME).read_text())
    change(body)
    if sign:
        body.pop("card_sha256", None)
        body["card_sha256"] = sha256_of_json(body)
    (folder / CARD_NAME).write_text(json.dumps(body))
