"""Reading of result files: records, and messages for files that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cxredge.artifacts.records import from_json, to_json
from cxredge.errors import ArtifactError
from cxredge.metrics.classification import ReliabilityBin
from cxredge.results.evaluation import ChangedDecision, Evaluation, RocCurve
from cxredge.results.read import read_result, read_results_of
from tests.results.sample_results import bench, changed, class_metrics, evaluation

EVALUATION = evaluation(
    0.9,
    (0.8, 0.95),
    by_class={"covid19": class_metrics(0.9, (0.8, 1.0))},
    flipped=(
        ChangedDecision(
            path="a.png",
            label="viral",
            fp32="viral",
            now="covid19",
            probability_fp32=0.51,
            probability_now=0.5,
        ),
    ),
    reliability=(ReliabilityBin(0.5, 0.6, 160, 0.55, 0.5),),
    roc={
        "covid19": RocCurve(false_positive_rate=(0.0, 1.0), true_positive_rate=(0.0, 1.0)),
    },
)


def write(path: Path, values: Any) -> Path:
    path.write_text(json.dumps(values))
    return path


@pytest.mark.parametrize("result", [EVALUATION, bench(2.5)], ids=["evaluation", "bench"])
def test_what_is_written_is_read(result: Any, tmp_path: Path) -> None:
    values = to_json(result)
    assert read_result(write(tmp_path / "r.json", values)) == result
    assert json.loads(json.dumps(values)) == json.loads((tmp_path / "r.json").read_text())


def test_keys_that_were_added_later_may_be_missing_or_unknown(tmp_path: Path) -> None:
    values = to_json(EVALUATION)
    del values["cascade"], values["warnings"]
    found = read_result(write(tmp_path / "r.json", {**values, "from_the_future": 1}))
    assert isinstance(found, Evaluation)
    assert (found.cascade, found.warnings) == (None, ())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (changed(EVALUATION, "accuracy", to="high"), "key 'accuracy'.*`float`, got `str`"),
        (changed(EVALUATION, "accuracy", to=1.5), "key 'accuracy'.*<= 1.0, found 1.5"),
        (changed(EVALUATION, "precision", to="int4"), "key 'precision'.*int4"),
        (
            changed(EVALUATION, "by_class", "covid19", "sensitivity", to=-1),
            "key 'by_class.covid19.sensitivity'",
        ),
        (changed(EVALUATION, "manifest_sha256", to="x"), "key 'manifest_sha256'"),
        (changed(bench(1), "state", "before", to=None), "key 'state.before'"),
        (changed(bench(1), "latency_ms", "p50_ci95", to=[1.0]), "key 'latency_ms.p50_ci95'"),
        ({k: v for k, v in to_json(bench(1)).items() if k != "state"}, "'?`?state`?'?"),
        ({"schema": "cxredge.run/1"}, "schema 'cxredge.run/1'; expected cxredge.evaluation/1"),
        ([], "schema 'None'"),
    ],
)
def test_a_file_that_does_not_fit_is_explained(values: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=words) as caught:
        read_result(write(tmp_path / "r.json", values))
    assert str(tmp_path / "r.json") in caught.value.message
    assert caught.value.hint


def test_numbers_must_be_finite(tmp_path: Path) -> None:
    values = changed(bench(1), "throughput", to=float("nan"))
    with pytest.raises(ArtifactError, match="is not JSON"):
        read_result(write(tmp_path / "r.json", values))


def test_results_folder_is_sorted_by_bundle_and_checked(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    own = write(folder / "b.json", to_json(bench(1)))
    write(folder / "a.json", to_json(bench(1, bundle_sha256="1" * 64)))
    write(folder / "c.json", {})
    found = read_results_of(tmp_path, "0" * 64)
    assert found.by_path == {own.resolve(): bench(1)}
    assert "results/a.json was measured on another bundle" in found.left_out[0]
    assert "c.json is not a result" in found.left_out[1]
    assert read_results_of(tmp_path / "none", "0" * 64).by_path == {}


def test_a_roc_curve_with_rates_of_different_length_is_refused() -> None:
    values = {"false_positive_rate": [0.0, 1.0], "true_positive_rate": [0.0]}
    with pytest.raises(ArtifactError, match="Expected rates of the same length, got 2 and 1"):
        from_json(values, RocCurve, "evaluate.json", "Evaluate again.")


def test_a_key_that_is_not_text_is_refused() -> None:
    with pytest.raises(ArtifactError, match="a key is not text"):
        from_json({"\ud800": 1}, RocCurve, "evaluate.json", "Evaluate again.")
