"""Result sets from files and bundles."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from cxredge.artifacts.records import to_json
from cxredge.comparison import read_result_set
from cxredge.errors import ArtifactError
from tests.comparison.result_sets import passport
from tests.results.sample_results import EVALUATION, bench

CARD_SHA256 = hashlib.sha256(b"{}").hexdigest()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder with a card and a results folder."""
    (tmp_path / "card.json").write_text("{}")
    (tmp_path / "results").mkdir()
    return tmp_path


def test_result_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(to_json(bench(1))))
    found = read_result_set(path)
    assert found.name == str(path)
    assert list(found.results) == [bench(1)]


def test_passport_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "copied.json"
    path.write_text(json.dumps(to_json(passport(1))))
    assert list(read_result_set(path).results) == [passport(1)]


def test_bundle_has_all_its_results(bundle: Path) -> None:
    results = {
        "b": bench(1, bundle_sha256=CARD_SHA256),
        "a": replace(EVALUATION, bundle_sha256=CARD_SHA256),
    }
    for name, result in results.items():
        (bundle / "results" / f"{name}.json").write_text(json.dumps(to_json(result)))
    assert list(read_result_set(bundle).results) == [results["a"], results["b"]]


def test_results_of_another_bundle_are_left_out(bundle: Path) -> None:
    own, other = bench(1, bundle_sha256=CARD_SHA256), bench(1, bundle_sha256="1" * 64)
    (bundle / "results" / "own.json").write_text(json.dumps(to_json(own)))
    (bundle / "results" / "other.json").write_text(json.dumps(to_json(other)))
    found = read_result_set(bundle)
    assert list(found.results) == [own]
    (reason,) = found.left_out
    assert "other.json was measured on another bundle" in reason


def test_bundle_without_results_says_how_to_get_them(bundle: Path) -> None:
    (bundle / "results" / "broken.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"has no results yet.*broken\.json") as caught:
        read_result_set(bundle)
    assert "cxredge evaluate" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"schema": "cxredge.model/1"}', '{"schema": "cxredge.bench/1"}', "3", "x", ""],
)
def test_file_that_is_not_a_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ArtifactError):
        read_result_set(path)


def test_missing_file_and_folder_that_is_not_a_bundle_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(ArtifactError):
            read_result_set(path)
