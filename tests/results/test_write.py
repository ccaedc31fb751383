"""Names of result files: what was measured, and nothing of another measurement is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxredge.errors import ArtifactError, CxredgeError
from cxredge.results.evaluation import Evaluation
from cxredge.results.write import check_out, path_in_bundle, write_result
from cxredge.vocabulary import Precision, Split
from tests.results.sample_results import BOARD, bench
from tests.results.sample_results import EVALUATION as FIRST


def evaluated(**changes: object) -> Evaluation:
    return Evaluation(**{**vars(FIRST), **changes})  # type: ignore[arg-type]


def test_a_second_manifest_does_not_replace_the_first(tmp_path: Path) -> None:
    names = []
    for manifest in ("ab" * 32, "cd" * 32, "ab" * 32, "ef" * 32, "cd" * 32):
        result = evaluated(manifest_sha256=manifest)
        path = path_in_bundle(tmp_path, result)
        write_result(path, result)
        names.append(path.name)
    assert names == [
        "evaluate-test-fp32.json",
        "evaluate-test-fp32-cdcdcdcdcdcd.json",
        "evaluate-test-fp32.json",
        "evaluate-test-fp32-efefefefefef.json",
        "evaluate-test-fp32-cdcdcdcdcdcd.json",
    ]


def test_splits_precisions_runtimes_and_bundles_are_kept_apart(tmp_path: Path) -> None:
    results = [
        FIRST,
        evaluated(split=Split.VAL),
        evaluated(precision=Precision.INT8),
        evaluated(backend="openvino"),
        evaluated(bundle_sha256="9" * 64),
    ]
    paths = []
    for result in results:
        paths.append(path_in_bundle(tmp_path, result))
        write_result(paths[-1], result)
    assert len(set(paths)) == len(results)
    assert paths[3].name == "evaluate-test-fp32-abababababab.json"
    assert paths[4].name == "evaluate-test-fp32-abababababab-2.json"
    assert [path_in_bundle(tmp_path, result) for result in results] == paths


def test_a_file_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "evaluate-test-fp32.json").write_text("notes")
    assert path_in_bundle(tmp_path, FIRST).name == "evaluate-test-fp32-abababababab.json"


def test_a_benchmark_elsewhere_does_not_replace_the_first(tmp_path: Path) -> None:
    names = []
    for result in (bench(2), bench(3), bench(4, machine=BOARD), bench(4, threads=2), bench(5)):
        path = path_in_bundle(tmp_path, result)
        write_result(path, result)
        names.append(path.stem.removeprefix("bench-single-stream-memory-int8"))
    assert names == ["", "", "-2", "-3", ""]


def test_out_replaces_a_result_of_the_command_only(tmp_path: Path) -> None:
    check_out(tmp_path / "new.json", tmp_path, Evaluation)
    write_result(tmp_path / "old.json", FIRST)
    check_out(tmp_path / "old.json", tmp_path, Evaluation)
    write_result(tmp_path / "bench.json", bench(1))
    (tmp_path / "card.json").write_text("{}")
    for name in ("bench.json", "card.json"):
        with pytest.raises(ArtifactError, match="is not a valid result of this command"):
            check_out(tmp_path / name, tmp_path, Evaluation)
    with pytest.raises(CxredgeError, match="is a folder"):
        check_out(tmp_path, tmp_path, Evaluation)
