import csv
import json
from pathlib import Path
from typing import Any

import pytest

from cxredge.comparison import Finding, Limits, Row, Side, compare, read_side
from cxredge.comparison.figures import Figure, difference_ci95
from cxredge.csv_text import csv_line
from cxredge.errors import ArtifactError, CxredgeError, WrongUsage
from cxredge.metrics import wilson
from cxredge.report.compared import write_comparison


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


def passport(p50: float, ci95: tuple[float, float], **machine: Any) -> dict[str, Any]:
    return {
        "schema": "cxredge.passport/1",
        "precision": "int8",
        "machine": {"cpu": "AMD EPYC", "cores": 2, **machine},
        "latency_ms": {"int8": {"p50": p50, "p50_ci95": list(ci95)}},
    }


def compared(before: dict[str, Any], after: dict[str, Any], **more: Any) -> tuple[Row, ...]:
    limits = more.pop("limits", Limits())
    return compare(side(before, name="A"), [side(after)], limits, **more).rows


def test_row_tells_what_changed() -> None:
    (row,) = compared(
        evaluation(0.8, (0.75, 0.84)), evaluation(0.9, (0.86, 0.93), precision="int8")
    )
    assert row.metric == "accuracy"
    assert row.of == "B"
    assert (row.before, row.after) == (0.8, 0.9)
    assert row.difference == pytest.approx(0.1)
    assert row.change == pytest.approx(0.125)
    assert row.precisions == ("fp32", "int8")
    assert row.exceeds_noise is True
    assert row.regression is False
    assert row.finding is Finding.BETTER
    assert "test" in row.what


def test_difference_of_shares_has_newcombes_interval() -> None:
    """Newcombe 1998, Statistics in Medicine 17, table II, method 10: 56/70 against 48/80."""
    first = Figure("a", 48 / 80, wilson(48, 80), True, "share")
    second = Figure("a", 56 / 70, wilson(56, 70), True, "share")
    assert difference_ci95(first, second) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_interval_of_a_difference_turns_with_the_sides() -> None:
    first, second = (
        Figure("a", v, ci, True, "share") for v, ci in ((0.5, (0.3, 0.6)), (0.7, (0.6, 0.9)))
    )
    low, high = difference_ci95(first, second)
    assert difference_ci95(second, first) == pytest.approx((-high, -low))


def test_noise_is_exceeded_before_intervals_part() -> None:
    """Two intervals may meet and their difference still be clear; wider ones hide it."""
    assert compared(evaluation(0.7, (0.65, 0.75)), evaluation(0.79, (0.74, 0.84)))[0].exceeds_noise
    (row,) = compared(evaluation(0.7, (0.6, 0.8)), evaluation(0.79, (0.69, 0.89)))
    assert row.finding is Finding.SAME


@pytest.mark.parametrize("missing", [None, [None, None], []])
def test_without_an_interval_nothing_exceeds_the_noise(missing: Any) -> None:
    before, after = evaluation(0.9, (0.88, 0.92)), evaluation(0.2, (0.1, 0.3))
    after["accuracy_ci95"] = missing
    (row,) = compared(before, after)
    assert row.difference_ci95 is None
    assert not row.exceeds_noise
    assert not row.regression
    assert row.finding is Finding.NO_INTERVAL


HIGHER_IS_BETTER = {
    "accuracy": True,
    "macro_f1": True,
    "auroc": True,
    "calibration_error": False,
    "p50_ms": False,
    "p90_ms": False,
    "p99_ms": False,
}


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
    (row,) = [r for r in compared(*results) if r.metric == name]
    assert row.change == pytest.approx(1.0 if rises else -0.5)
    assert row.exceeds_noise is True
    assert row.regression is (rises != HIGHER_IS_BETTER[name])


@pytest.mark.parametrize(
    ("after", "limit", "finding"),
    [
        (10.4, 0.05, Finding.WORSE),
        (10.6, 0.05, Finding.REGRESSION),
        (10.4, 0.0, Finding.REGRESSION),
        (20.0, 1.5, Finding.WORSE),
        (9.0, 0.0, Finding.BETTER),
    ],
)
def test_latency_is_held_to_a_relative_limit(after: float, limit: float, finding: Finding) -> None:
    (row,) = compared(
        bench(10, (9.9, 10.1)),
        bench(after, (after - 0.1, after + 0.1)),
        limits=Limits(latency_rise=limit),
    )
    assert row.exceeds_noise is True
    assert row.finding is finding
    assert row.regression is (finding is Finding.REGRESSION)


@pytest.mark.parametrize(("limit", "regression"), [(0.02, True), (0.04, False)])
def test_accuracy_is_held_to_an_absolute_limit(limit: float, regression: bool) -> None:
    (row,) = compared(
        evaluation(0.5, (0.495, 0.505)),
        evaluation(0.47, (0.465, 0.475)),
        limits=Limits(accuracy_drop=limit),
    )
    assert row.regression is regression


def test_each_class_is_held_to_its_sensitivity() -> None:
    def of(sensitivity: float, low: float, high: float) -> dict[str, Any]:
        row = {"sensitivity": sensitivity, "sensitivity_ci95": [low, high]}
        return evaluation(
            0.9, (0.8, 0.95), by_class={"covid19": row, "viral": {"sensitivity": None}}
        )

    rows = compared(of(0.95, 0.9, 0.98), of(0.5, 0.4, 0.6))
    assert {row.metric: row.finding for row in rows} == {
        "accuracy": Finding.SAME,
        "sensitivity of covid19": Finding.REGRESSION,
    }


def test_regression_needs_to_exceed_the_noise() -> None:
    (row,) = compared(bench(10, (5, 15)), bench(14, (9, 19)))
    assert row.change == pytest.approx(0.4)
    assert row.regression is False


def test_worsening_from_zero_is_a_regression() -> None:
    limits = Limits()
    before = evaluation(1, (0.9, 1), calibration_error=0.0, calibration_error_ci95=[0.0, 0.0])
    after = evaluation(1, (0.9, 1), calibration_error=0.3, calibration_error_ci95=[0.2, 0.4])
    found = compare(side(before, name="A"), [side(after)], limits)
    (row,) = [row for row in found.rows if row.metric == "calibration_error"]
    assert row.exceeds_noise is True
    assert row.regression is True
    assert found.regressions == 1
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["regressions"] == 1


def test_unchanged_zero_is_no_change() -> None:
    (row,) = compared(evaluation(0.0, (0, 0.1)), evaluation(0.0, (0, 0.1)))
    assert row.change == 0
    assert row.finding is Finding.SAME


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (evaluation(1, (0.9, 1)), evaluation(1, (0.9, 1), split="val")),
        (evaluation(1, (0.9, 1)), evaluation(1, (0.9, 1), manifest_sha256="cd" * 32)),
        (bench(1, (1, 1)), bench(1, (1, 1), scenario="offline")),
        (bench(1, (1, 1)), bench(1, (1, 1), timed=["infer"])),
        (bench(1, (1, 1)), bench(1, (1, 1), samples_per_query=8)),
        (bench(1, (1, 1)), evaluation(1, (0.9, 1))),
        (bench(1, (1, 1)), passport(1, (1, 1))),
    ],
)
def test_unlike_results_are_refused_with_what_each_is(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    for pair in ((before, after), (after, before)):
        with pytest.raises(ArtifactError, match=r"A holds .* B holds") as caught:
            compared(*pair)
        assert caught.value.hint


def test_results_without_a_counterpart_are_listed() -> None:
    offline = bench(1, (1, 1), scenario="offline")
    first = side(bench(1, (1, 1)), evaluation(0.9, (0.8, 1)), name="A")
    found = compare(first, [side(bench(1, (1, 1)), offline)], Limits())
    assert len(found.not_compared) == 2
    assert "evaluation of A" in found.not_compared[0]
    assert "B has no evaluation" in found.not_compared[0]
    assert "benchmark of B (offline" in found.not_compared[1]


def test_precisions_meet_their_own_where_there_are_several() -> None:
    first = side(bench(1, (1, 1)), bench(3, (3, 3), precision="fp32"), name="A")
    other = side(bench(2, (2, 2)), bench(6, (6, 6), precision="fp32"))
    rows = compare(first, [other], Limits()).rows
    assert [(row.before, row.after) for row in rows] == [(1, 2), (3, 6)]
    (alone,) = compared(bench(1, (1, 1)), bench(6, (6, 6), precision="fp32"))
    assert alone.precisions == ("int8", "fp32")


def test_figures_that_one_side_lacks_are_left_out() -> None:
    before = evaluation(0.8, (0.7, 0.9), auroc=0.9, auroc_ci95=[0.8, 1], macro_f1=None)
    after = evaluation(0.8, (0.7, 0.9), auroc=None, macro_f1=0.8)
    assert [row.metric for row in compared(before, after)] == ["accuracy"]


def test_energy_and_throughput_are_shown_without_a_finding() -> None:
    def of(joules: float, throughput: float) -> dict[str, Any]:
        return bench(1, (1, 1), throughput=throughput, energy={"joules_per_image": joules})

    rows = {row.metric: row for row in compared(of(0.1, 50.0), of(0.2, 25.0))}
    assert rows["joules_per_image"].change == pytest.approx(1.0)
    assert rows["images_per_second"].change == pytest.approx(-0.5)
    assert rows["joules_per_image"].finding is Finding.NO_INTERVAL
    without = compared({**of(0.1, 50.0), "energy": None}, of(0.2, 25.0))
    assert "joules_per_image" not in {row.metric for row in without}


def test_each_side_is_held_against_the_first() -> None:
    results = [evaluation(0.8, (0.7, 0.9)), bench(1, (1, 1))]
    others = [side(*results, name="B"), side(*results, name="C")]
    rows = compare(side(*results, name="A"), others, Limits()).rows
    assert sorted((row.of, row.metric) for row in rows) == [
        ("B", "accuracy"),
        ("B", "p50_ms"),
        ("C", "accuracy"),
        ("C", "p50_ms"),
    ]


def test_doubts_of_both_sides_are_told_and_do_not_excuse() -> None:
    doubtful = {"comparable": False, "reasons": ["governor is powersave"]}
    (row,) = compared(bench(1, (1, 1), verdict=doubtful), bench(2, (2, 2)))
    assert row.doubts == ("first: governor is powersave",)
    assert row.regression
    (row,) = compared(bench(1, (1, 1)), bench(1, (1, 1), verdict=doubtful))
    assert row.doubts == ("other: governor is powersave",)


BOARD = {"machine": {"cpu": "Cortex-A78AE", "cores": 6}}
SERVER = {"machine": {"cpu": "AMD EPYC", "cores": 2}}


def test_other_machines_are_shown_and_are_no_regression() -> None:
    (row,) = compared(bench(1, (1, 1), **SERVER), bench(9, (9, 9), **BOARD))
    assert row.finding is Finding.NOT_COMPARABLE
    assert row.exceeds_noise is True
    assert row.regression is False
    assert any("machines differ" in reason for reason in row.unlike)


def test_across_machines_when_it_is_meant() -> None:
    (row,) = compared(bench(1, (1, 1), **SERVER), bench(9, (9, 9), **BOARD), across=["machine"])
    assert row.finding is Finding.REGRESSION


@pytest.mark.parametrize("name", ["scenario", "timed", "colour"])
def test_across_what_must_agree_is_wrong_usage(name: str) -> None:
    with pytest.raises(WrongUsage, match=name) as caught:
        compared(bench(1, (1, 1)), bench(1, (1, 1)), across=[name])
    assert "machine" in caught.value.hint


def test_passports_of_one_machine_are_compared() -> None:
    (row,) = compared(passport(1, (0.9, 1.1)), passport(2, (1.9, 2.1)))
    assert row.metric == "int8 p50_ms"
    assert row.finding is Finding.REGRESSION
    (row,) = compared(passport(1, (0.9, 1.1)), passport(2, (1.9, 2.1), cpu="Cortex-A76"))
    assert row.finding is Finding.NOT_COMPARABLE


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


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"schema": "cxredge.model/1"}', '{"schema": "cxredge.bench/1"}', "3", "x", ""],
)
def test_file_that_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ArtifactError):
        read_side(path)


def test_missing_file_and_folder_that_is_no_bundle_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(ArtifactError):
            read_side(path)


class TestWritten:
    @pytest.fixture
    def found(self) -> Any:
        name = "<script>|B"
        other = side(bench(2, (1.9, 2.1), **BOARD), evaluation(0.7, (0.6, 0.8)), name=name)
        first = side(bench(1, (0.9, 1.1), **SERVER), evaluation(0.9, (0.85, 0.95)), name="x/A")
        return compare(first, [other], Limits())

    def test_page_shows_findings_and_reasons_and_escapes(self, found: Any, tmp_path: Path) -> None:
        write_comparison(found, tmp_path / "c.html")
        page = (tmp_path / "c.html").read_text()
        assert "&lt;script&gt;" in page
        assert "<script" not in page
        for words in ("not comparable", "regression", "machines differ", "Research use only"):
            assert words in page

    def test_markdown_rows(self, found: Any, tmp_path: Path) -> None:
        write_comparison(found, tmp_path / "c.md")
        (line,) = [
            line
            for line in (tmp_path / "c.md").read_text().splitlines()
            if line.startswith("| accuracy")
        ]
        assert "| 90.0% | 70.0% | \N{MINUS SIGN}20.0 points" in line
        assert line.endswith("| 0.01 | regression |")

    def test_csv_has_the_numbers(self, found: Any, tmp_path: Path) -> None:
        for _ in range(2):
            write_comparison(found, tmp_path / "c.csv")
        rows = list(csv.DictReader((tmp_path / "c.csv").read_text().splitlines()))
        latency = next(row for row in rows if row["figure"] == "p50_ms")
        assert (float(latency["before"]), float(latency["after"])) == (1, 2)
        assert float(latency["difference_ci95_low"]) == pytest.approx(1 - 0.02**0.5)
        assert "machines differ" in latency["not_comparable_for"]

    def test_other_tables_are_not_replaced(self, found: Any, tmp_path: Path) -> None:
        path = tmp_path / "manifest.csv"
        path.write_text(csv_line(["path", "label"]))
        with pytest.raises(CxredgeError, match="not replaced"):
            write_comparison(found, path)
        assert path.read_text() == "path,label\n"

    def test_unknown_extension(self, found: Any, tmp_path: Path) -> None:
        with pytest.raises(CxredgeError, match=r"\.html, \.md or \.csv"):
            write_comparison(found, tmp_path / "c.pdf")
