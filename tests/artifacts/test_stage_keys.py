"""Whether an artifact is up to date: its key, and the hashes, JSON and versions behind it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxredge.artifacts.card import (
    ArtifactKind,
    read_card,
    read_json,
    sha256_of_file,
    tool_versions,
    up_to_date,
    write_card,
    write_json,
)
from cxredge.errors import ArtifactError
from tests.artifacts.conftest import CARD, edit_card, names


def test_artifact_of_the_same_inputs_is_up_to_date(model: Path) -> None:
    later = replace(CARD, facts={"other": "findings"}, files={})
    assert up_to_date(model, later) == read_card(model)


@pytest.mark.parametrize(
    "change",
    [
        {"parents": {"run": "cd" * 32}},
        {"config": {"precision": "fp32"}},
        {"tools": {"cxredge": "1.1"}},
        {"kind": ArtifactKind.BUNDLE},
    ],
)
def test_artifact_of_other_inputs_is_not_up_to_date(model: Path, change: dict[str, Any]) -> None:
    assert up_to_date(model, replace(CARD, **change)) is None


def test_broken_or_absent_artifact_is_not_up_to_date(tmp_path: Path, model: Path) -> None:
    assert up_to_date(tmp_path / "none", CARD) is None
    edit_card(model, lambda body: body["facts"].clear())
    assert up_to_date(model, CARD) is None
    write_card(model, CARD)
    assert up_to_date(model, CARD)
    (model / "model.onnx").write_bytes(b"x")
    assert up_to_date(model, CARD) is None


def test_stage_key_does_not_depend_on_order_or_on_json(model: Path) -> None:
    turned = replace(CARD, config=dict(reversed(CARD.config.items())))
    assert turned.stage_key == CARD.stage_key == read_card(model).stage_key
    as_tuple = replace(CARD, config={**CARD.config, "nested": {"list": (1, 2.5, None)}})
    assert as_tuple.stage_key == CARD.stage_key


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
    assert read_json(tmp_path / "a.json") == {"a": [1, None, "ö"]}
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"a": float("nan")})
    assert names(tmp_path) == ["a.json"]


def test_missing_and_broken_json_are_artifact_errors(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_bytes(b'{"a": \xff')
    for path in (tmp_path / "none.json", tmp_path / "broken.json"):
        with pytest.raises(ArtifactError, match=str(path)):
            read_json(path)


def test_tool_versions_list_what_is_installed() -> None:
    found = tool_versions("numpy", "no-such-package-at-all")
    assert set(found) == {"cxredge", "python", "numpy"}
