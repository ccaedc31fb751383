"""Reading of result files: records, and messages for files that do not fit."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxredge.artifacts.records import UNSET, from_json, to_json
from cxredge.errors import ArtifactError
from cxredge.metrics.classification import wilson
from cxredge.results.bench import Comparability, QueryCount
from cxredge.results.evaluation import Evaluation, RocCurve
from cxredge.results.read import read_result, read_results_of
from cxredge.results.write import write_result
from tests.results.sample_results import EVALUATION, ROW, bench, changed, latency


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


def test_a_result_of_an_older_version_has_no_hash_and_may_hold_paths(tmp_path: Path) -> None:
    values = to_json(EVALUATION)
    del values["flipped"][0]["index"]
    values["flipped"][0]["path"] = "/home/a/b.png"
    found = read_result(write(tmp_path / "r.json", values))
    assert isinstance(found, Evaluation)
    assert found.flipped[0].index is UNSET
    assert "/home/a" not in json.dumps(to_json(found))


@pytest.mark.parametrize("result", [EVALUATION, bench(2.5)], ids=["evaluation", "bench"])
def test_a_changed_file_does_not_match_its_own_hash(result: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    values = write_result(path, result)
    assert read_result(path).content_sha256 == values["content_sha256"]
    write(path, {**values, "network": "mobilenet_v2"})
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        read_result(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"accuracy": 0.999}, "accuracy is 0.9990, but 80 of 160 images make 0.5000"),
        ({"accuracy": 0.50002}, "accuracy is 0.50002, but 80 of 160 images make 0.50000"),
        ({"accuracy_ci95": (0.4, 0.6)}, "the interval of accuracy is not Wilson's"),
        ({"macro_f1": 0.9}, "macro_f1 is 0.9000, not 0.5000 as computed from the confusion matrix"),
        ({"images": 161}, "'images' is 161, but the confusion matrix counts 160"),
        ({"confusion": ((80, 0), (0, 80))}, "accuracy is 0.5000, but 160 of 160"),
        ({"confusion": ((160,),)}, "must have 2 rows and columns"),
        ({"auroc": 0.99}, "auroc is 0.9900, not 0.6250 as computed from the mean of the classes"),
        (
            {"calibration_error": 0.0},
            "calibration_error is 0.0000, not 0.0500 as computed from its bins",
        ),
        ({"agreement_fp32": 1.0}, "agreement_fp32 is 1.0000, but 159 of 160"),
        ({"flipped": ()}, "agreement_fp32 is 0.9938, but 160 of 160"),
        (
            {"accuracy_fp32": 0.5},
            "accuracy_fp32 is 0.5000, not 0.5062 as computed from the changed decisions",
        ),
        ({"accuracy_difference_fp32": 0.1}, "accuracy_difference_fp32"),
        ({"by_class": {"covid19": ROW}}, "'by_class' must hold covid19, viral"),
        ({"sensitivity": {"covid19": 0.75, "viral": 1.0}}, "sensitivity of viral is 1.0000"),
        ({"reliability": ()}, "the bins of the reliability diagram hold 0 images"),
    ],
)
def test_an_evaluation_that_contradicts_itself_is_refused(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    write_result(tmp_path / "r.json", replace(EVALUATION, **changes))
    with pytest.raises(ArtifactError, match=re.escape(words)):
        read_result(tmp_path / "r.json")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": 79}, "'covid19' has 79 images, but the confusion matrix counts 80"),
        ({"recall": 1.0}, "recall of covid19 is 1.0000, but 40 of 80"),
        ({"sensitivity": 0.76}, "sensitivity of covid19 is 0.7600, but 61 of 80"),
        ({"sensitivity": 1.0, "sensitivity_ci95": wilson(80, 80)}, "not a point of its ROC curve"),
        ({"specificity": None}, "specificity of covid19 is missing"),
        ({"auroc": 0.99}, "AUROC of covid19 is 0.9900, but the area below its curve is 0.6250"),
    ],
)
def test_a_class_that_contradicts_the_confusion_matrix_is_refused(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    by_class = {"covid19": replace(ROW, **changes), "viral": ROW}
    write_result(tmp_path / "r.json", replace(EVALUATION, by_class=by_class))
    with pytest.raises(ArtifactError, match=re.escape(words)):
        read_result(tmp_path / "r.json")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"throughput": 999.0}, "throughput is 999.00, but 2000 images in 10.000 s make 200.00"),
        ({"latency_ms": latency(2.5, count=1999)}, "'queries' counts 2000, but 'latency_ms' 1999"),
        ({"latency_ms": latency(2.5, p90=1.0)}, "percentiles of 'query' are not in ascending"),
        ({"latency_ms": latency(0.5)}, "the score is 2.500 ms, but the queries give 0.500"),
        ({"histogram_ms": (9.0,) * 2000}, "p50 is 2.500, but that of the latencies is 9.000"),
        ({"verdict": Comparability(True, ("hot",))}, "'comparable' is True with one reason"),
        ({"verdict": Comparability(False, ())}, "'comparable' is False with no reasons"),
        ({"queries": QueryCount(count=2000, needed=9000, samples=2000)}, "2000 of 9000 queries"),
    ],
)
def test_a_benchmark_that_contradicts_itself_is_refused(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    write_result(tmp_path / "r.json", bench(2.5, **changes))
    with pytest.raises(ArtifactError, match=re.escape(words)):
        read_result(tmp_path / "r.json")


@pytest.mark.parametrize("name", ["predictions.csv", "p.jsonl", "p.parquet"])
def test_a_table_is_not_a_result(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("path,status\n")
    with pytest.raises(ArtifactError, match="is a table, not a result") as caught:
        read_result(path)
    assert "cxredge inspect" in caught.value.hint
