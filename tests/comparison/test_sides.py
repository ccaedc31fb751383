"""What one side of a comparison holds: a result file, or a bundle with all of its results."""

import json
from pathlib import Path

import pytest

from cxredge.comparison import read_result_set
from cxredge.errors import ArtifactError
from tests.comparison.results import bench, evaluation


def test_result_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(bench(1, (1, 1))))
    found = read_result_set(path)
    assert found.name == str(path)
    assert list(found.results) == [bench(1, (1, 1))]


def test_bundle_gives_all_its_results(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{}")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "b.json").write_text(json.dumps(bench(1, (1, 1))))
    (tmp_path / "results" / "a.json").write_text(json.dumps(evaluation(1, (1, 1))))
    assert [r["schema"] for r in read_result_set(tmp_path).results] == [
        "cxredge.evaluation/1",
        "cxredge.bench/1",
    ]


def test_bundle_without_results_says_how_to_get_them(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(ArtifactError, match="has no results yet") as caught:
        read_result_set(tmp_path)
    assert "cxredge evaluate" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"schema": "cxredge.model/1"}', '{"schema": "cxredge.bench/1"}', "3", "x", ""],
)
def test_file_that_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ArtifactError):
        read_result_set(path)


def test_missing_file_and_folder_that_is_no_bundle_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(ArtifactError):
            read_result_set(path)
