import json
from pathlib import Path
from typing import Any

import pytest

from cxredge.comparison import METRICS, Side, compare, read_side
from cxredge.errors import ArtifactError


def evaluation(accuracy: float, ci95: tuple[float, float], **more: Any) -> dict[str, Any]:
    return {
        "schema": "cxredge.evaluation/1",
        "split": "test",
        "manifest_sha256": "ab" * 32,
        "precision": "fp32",
        "accuracy": accuracy,
        "accuracy_ci95": list(ci95),
        **more,
    }


def bench(p50: float, ci95: tuple[float, float], **more: Any) -> dict[str, Any]:
    return {
        "schema": "cxredge.bench/1",
        "scenario": "single-stream",
        "timed": ["decode", "infer"],
        "precision": "int8",
        "latency_ms": {"p50": p50, "p50_ci95": list(ci95)},
        "verdict": {"comparable": True, "reasons": []},
        **more,
    }


def side(*results: dict[str, Any], name: str = "B") -> Side:
    return Side(name, results)


def compared(
    before: dict[str, Any], after: dict[str, Any], limit: float = 0.05
) -> list[dict[str, Any]]:
    return compare(side(before, name="A"), [side(after)], limit)


def test_row_tells_what_changed() -> None:
    (row,) = compared(
        evaluation(0.8, (0.75, 0.84)), evaluation(0.9, (0.86, 0.93), precision="int8")
    )
    assert row["metric"] == "accuracy"
    assert row["of"] == "B"
    assert (row["before"], row["after"]) == (0.8, 0.9)
    assert row["change"] == pytest.approx(0.125)
    assert row["precisions"] == ["fp32", "int8"]
    assert row["exceeds_noise"] is True
    assert row["regression"] is False
    assert row["doubts"] == []
    assert "test" in row["what"]


@pytest.mark.parametrize(
    ("first", "second", "apart"),
    [
        ((0.7, 0.8), (0.81, 0.9), True),
        ((0.81, 0.9), (0.7, 0.8), True),
        ((0.7, 0.8), (0.8, 0.9), False),
        ((0.7, 0.8), (0.79, 0.9), False),
        ((0.7, 0.9), (0.75, 0.8), False),
        ((0.7, 0.8), (None, None), False),
        ((), (0.8, 0.9), False),
    ],
)
def test_noise_is_exceeded_when_intervals_do_not_meet(
    first: tuple[float, float], second: tuple[float, float], apart: bool
) -> None:
    (row,) = compared(evaluation(0.75, first), evaluation(0.5, second))
    assert row["exceeds_noise"] is apart
    assert row["regression"] is apart


def test_missing_interval_never_exceeds_the_noise() -> None:
    before, after = evaluation(0.9, (0.88, 0.92)), evaluation(0.2, (0.1, 0.3))
    del after["accuracy_ci95"]
    (row,) = compared(before, after)
    assert not row["exceeds_noise"]
    assert not row["regression"]


HIGHER_IS_BETTER = {
    "accuracy": True,
    "macro_f1": True,
    "auroc": True,
    "calibration_error": False,
    "p50_ms": False,
    "p90_ms": False,
    "p99_ms": False,
}


def test_every_metric_has_a_direction_here() -> None:
    assert {metric.name for metric in METRICS} == set(HIGHER_IS_BETTER)


@pytest.mark.parametrize("name", HIGHER_IS_BETTER)
@pytest.mark.parametrize("rises", [True, False])
def test_only_a_change_for_the_worse_is_a_regression(name: str, rises: bool) -> None:
    low, high = (0.2, [0.19, 0.21]), (0.4, [0.39, 0.41])
    pair = (low, high) if rises else (high, low)
    results = []
    for value, interval in pair:
        if name.endswith("_ms"):
            key = name.removesuffix("_ms")
            results.append(bench(0, (0, 0), latency_ms={key: value, f"{key}_ci95": interval}))
        else:
            figures = {name: value, f"{name}_ci95": interval}
            results.append({**evaluation(0.5, (0.4, 0.6)), **figures})
    (row,) = [r for r in compared(*results) if r["metric"] == name]
    assert row["change"] == pytest.approx(1.0 if rises else -0.5)
    assert row["exceeds_noise"] is True
    assert row["regression"] is (rises != HIGHER_IS_BETTER[name])


@pytest.mark.parametrize(
    ("after", "limit", "regression"),
    [(10.4, 0.05, False), (10.6, 0.05, True), (10.4, 0.0, True), (20.0, 1.5, False)],
)
def test_regression_needs_more_than_the_limit(after: float, limit: float, regression: bool) -> None:
    (row,) = compared(bench(10, (9.9, 10.1)), bench(after, (after - 0.1, after + 0.1)), limit)
    assert row["exceeds_noise"] is True
    assert row["regression"] is regression


def test_regression_needs_to_exceed_the_noise() -> None:
    (row,) = compared(bench(10, (5, 15)), bench(14, (9, 19)))
    assert row["change"] == pytest.approx(0.4)
    assert row["regression"] is False


def test_worsening_from_zero_is_a_regression() -> None:
    rows = compared(
        evaluation(1, (0.9, 1), calibration_error=0.0, calibration_error_ci95=[0.0, 0.0]),
        evaluation(1, (0.9, 1), calibration_error=0.3, calibration_error_ci95=[0.2, 0.4]),
    )
    (row,) = [row for row in rows if row["metric"] == "calibration_error"]
    assert row["exceeds_noise"] is True
    assert row["regression"] is True
    json.dumps(row, allow_nan=False)


def test_unchanged_zero_is_no_change() -> None:
    (row,) = compared(evaluation(0.0, (0, 0.1)), evaluation(0.0, (0, 0.1)))
    assert row["change"] == 0
    assert row["regression"] is False


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (evaluation(1, (0.9, 1)), evaluation(1, (0.9, 1), split="val")),
        (evaluation(1, (0.9, 1)), evaluation(1, (0.9, 1), manifest_sha256="cd" * 32)),
        (bench(1, (1, 1)), bench(1, (1, 1), scenario="offline")),
        (bench(1, (1, 1)), bench(1, (1, 1), timed=["infer"])),
        (bench(1, (1, 1)), evaluation(1, (0.9, 1))),
    ],
)
def test_unlike_results_are_not_compared(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert compared(before, after) == []
    assert compared(after, before) == []


def test_figures_that_one_side_lacks_are_left_out() -> None:
    before = evaluation(0.8, (0.7, 0.9), auroc=0.9, auroc_ci95=[0.8, 1], macro_f1=None)
    after = evaluation(0.8, (0.7, 0.9), auroc=None, macro_f1=0.8)
    assert [row["metric"] for row in compared(before, after)] == ["accuracy"]


def test_each_side_is_held_against_the_first() -> None:
    results = [evaluation(0.8, (0.7, 0.9)), bench(1, (1, 1))]
    rows = compare(
        side(*results, name="A"), [side(*results, name="B"), side(*results, name="C")], 0.05
    )
    assert sorted((row["of"], row["metric"]) for row in rows) == [
        ("B", "accuracy"),
        ("B", "p50_ms"),
        ("C", "accuracy"),
        ("C", "p50_ms"),
    ]


def test_doubts_of_both_sides_are_told() -> None:
    doubtful = {"comparable": False, "reasons": ["governor is powersave"]}
    (row,) = compared(bench(1, (1, 1), verdict=doubtful), bench(1, (1, 1)))
    assert row["doubts"] == ["first: governor is powersave"]
    (row,) = compared(bench(1, (1, 1)), bench(1, (1, 1), verdict=doubtful))
    assert row["doubts"] == ["other: governor is powersave"]


def test_result_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(bench(1, (1, 1))))
    found = read_side(path)
    assert found.name == str(path)
    assert list(found.results) == [bench(1, (1, 1))]


def test_bundle_gives_all_its_results(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{}")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "b.json").write_text(json.dumps(bench(1, (1, 1))))
    (tmp_path / "results" / "a.json").write_text(json.dumps(evaluation(1, (1, 1))))
    assert [r["schema"] for r in read_side(tmp_path).results] == [
        "cxredge.evaluation/1",
        "cxredge.bench/1",
    ]


def test_bundle_without_results_says_how_to_get_them(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(ArtifactError, match="has no results yet") as caught:
        read_side(tmp_path)
    assert "cxredge evaluate" in caught.value.hint


@pytest.mark.parametrize("text", ["[]", "{}", '{"schema": "cxredge.model/1"}', "3", "no json", ""])
def test_file_that_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ArtifactError):
        read_side(path)


def test_missing_file_and_folder_that_is_no_bundle_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(ArtifactError):
            read_side(path)
