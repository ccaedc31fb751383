"""Whether an artifact is up to date: its key, and the hashes, JSON and versions behind it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxredge.artifacts.atomic import write_json
from cxredge.artifacts.card import (
    CARD_NAME,
    ArtifactKind,
    read_card,
    tool_versions,
    up_to_date,
    write_card,
)
from cxredge.artifacts.hashing import sha256_of_file
from cxredge.artifacts.model_card import ExportConfig, ExportedCard
from cxredge.artifacts.records import read_json_file
from cxredge.errors import ArtifactError
from cxredge.vocabulary import Precision
from tests.artifacts.conftest import CARD, PLAN, edit_card, names


def test_artifact_of_the_same_inputs_is_up_to_date(model: Path) -> None:
    found = up_to_date(model, PLAN, ExportedCard)
    assert found is not None
    assert found.card == read_card(model, ExportedCard)
    assert found.card_sha256 == sha256_of_file(model / CARD_NAME)


@pytest.mark.parametrize(
    "change",
    [
        {"parents": {"run": "cd" * 32}},
        {"config": ExportConfig(18)},
        {"tools": {"cxredge": "1.1"}},
        {"kind": ArtifactKind.BUNDLE},
    ],
)
def test_artifact_of_other_inputs_is_not_up_to_date(model: Path, change: dict[str, Any]) -> None:
    assert up_to_date(model, replace(PLAN, **change), ExportedCard) is None


def test_broken_or_absent_artifact_is_not_up_to_date(tmp_path: Path, model: Path) -> None:
    assert up_to_date(tmp_path / "none", PLAN, ExportedCard) is None
    edit_card(model, lambda body: body["facts"].clear())
    assert up_to_date(model, PLAN, ExportedCard) is None
    write_card(model, CARD)
    assert up_to_date(model, PLAN, ExportedCard)
    (model / "model.onnx").write_bytes(b"x")
    assert up_to_date(model, PLAN, ExportedCard) is None


def test_stage_key_does_not_depend_on_order_or_on_the_kind_of_sequence() -> None:
    parents = {"manifest": "cd" * 32, **PLAN.parents}
    one = replace(PLAN, parents=parents, config={"a": [1, 2.5, None], "b": Precision.FP32})
    turned = replace(
        PLAN,
        parents=dict(reversed(parents.items())),
        config={"b": "fp32", "a": (1, 2.5, None)},
    )
    assert one.stage_key == turned.stage_key


def test_hash_of_a_file_is_that_of_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    (tmp_path / "large").write_bytes(b"a" * 3_000_000)
    assert sha256_of_file(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    (tmp_path / "larger").write_bytes(b"a" * 2_999_999 + b"b")
    assert sha256_of_file(tmp_path / "large") != sha256_of_file(tmp_path / "larger")


def test_json_file_is_readable_and_refuses_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [1, None, "ö"]})
    assert read_json_file(tmp_path / "a.json") == {"a": [1, None, "ö"]}
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert names(tmp_path) == ["a.json"]


def test_missing_and_broken_json_are_artifact_errors(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_bytes(b'{"a": \xff')
    for path in (tmp_path / "none.json", tmp_path / "broken.json"):
        with pytest.raises(ArtifactError, match=str(path)):
            read_json_file(path)


def test_tool_versions_list_what_is_installed() -> None:
    found = tool_versions("numpy", "no-such-package-at-all")
    assert set(found) == {"cxredge", "python", "numpy"}
