"""Which results are paired, and which are not comparable."""

from __future__ import annotations

from typing import Any

import pytest

from cxredge.backends.base import CascadeCounts
from cxredge.comparison import Change, Limits, compare, compare_what_matches
from cxredge.errors import ArtifactError, WrongUsage
from cxredge.results.bench import Comparability
from cxredge.telemetry.energy import EnergyPerImage
from cxredge.vocabulary import Precision, Scenario, Split
from tests.comparison.result_sets import compared, passport, result_set, row_of
from tests.results.sample_results import BOARD, SERVER, bench, evaluation, machine


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (evaluation(1, (0.9, 1)), evaluation(1, (0.9, 1), split=Split.VAL)),
        (evaluation(1, (0.9, 1)), evaluation(1, (0.9, 1), manifest_sha256="cd" * 32)),
        (bench(1), bench(1, scenario=Scenario.OFFLINE)),
        (bench(1), bench(1, timed=("read", "compute"))),
        (bench(1), bench(1, samples_per_query=8)),
        (bench(1), evaluation(1, (0.9, 1))),
        (bench(1), passport(1)),
    ],
)
def test_results_of_different_things_are_refused_with_what_each_is(before: Any, after: Any) -> None:
    for pair in ((before, after), (after, before)):
        with pytest.raises(ArtifactError, match=r"A holds .* B holds") as caught:
            compared(*pair)
        assert caught.value.hint
        sets = result_set(pair[0], name="A"), [result_set(pair[1])]
        assert compare_what_matches(*sets, Limits()).rows == ()


def test_results_without_a_counterpart_are_listed() -> None:
    offline = bench(1, scenario=Scenario.OFFLINE)
    first = result_set(bench(1), evaluation(0.9, (0.8, 1)), name="A")
    found = compare(first, [result_set(bench(1), offline)], Limits())
    assert len(found.not_compared) == 2
    assert "evaluation of A" in found.not_compared[0]
    assert "B has no evaluation" in found.not_compared[0]
    assert "benchmark of B (offline" in found.not_compared[1]


def test_results_are_paired_by_precision_where_possible() -> None:
    fp32 = {"precision": Precision.FP32}
    first = result_set(bench(1), bench(3, **fp32), name="A")
    other = result_set(bench(2), bench(6, **fp32))
    rows = [row for row in compare(first, [other], Limits()).rows if row.metric == "p50_ms"]
    assert [(row.before, row.after) for row in rows] == [(1, 2), (3, 6)]
    assert row_of("p50_ms", bench(1), bench(6, **fp32)).precisions == ("int8", "fp32")
    cascade = bench(2, cascade=CascadeCounts(0.1, 20, 1))
    assert row_of("p50_ms", bench(1), cascade).precisions == ("int8", "int8 + fp32")


def test_metrics_that_one_result_lacks_are_left_out() -> None:
    before = evaluation(0.8, (0.7, 0.9), auroc=0.9, auroc_ci95=(0.8, 1), macro_f1=None)
    after = evaluation(0.8, (0.7, 0.9), auroc=None, macro_f1=0.8)
    assert [row.metric for row in compared(before, after)] == ["accuracy"]


def test_energy_and_throughput_are_shown_without_an_assessment() -> None:
    def of(joules: float, throughput: float) -> Any:
        energy = EnergyPerImage("RAPL", 10.0, 1.0, joules)
        return bench(1, throughput=throughput, energy=energy)

    rows = {row.metric: row for row in compared(of(0.1, 50.0), of(0.2, 25.0))}
    assert rows["joules_per_image"].change == pytest.approx(1.0)
    assert rows["images_per_second"].change == pytest.approx(-0.5)
    assert rows["joules_per_image"].finding is Change.NO_INTERVAL
    without = compared(bench(1), of(0.2, 25.0))
    assert "joules_per_image" not in {row.metric for row in without}


def test_each_result_set_is_compared_with_the_first() -> None:
    results = [evaluation(0.8, (0.7, 0.9)), bench(1)]
    others = [result_set(*results, name="B"), result_set(*results, name="C")]
    rows = compare(result_set(*results, name="A"), others, Limits()).rows
    found = {(row.of, row.metric) for row in rows}
    assert found >= {("B", "accuracy"), ("B", "p50_ms"), ("C", "accuracy"), ("C", "p50_ms")}


def test_reservations_of_both_results_are_shown_and_do_not_excuse() -> None:
    doubtful = Comparability.given(["governor is powersave"])
    row = row_of("p50_ms", bench(1, verdict=doubtful), bench(2))
    assert row.doubts == ("first: governor is powersave",)
    assert row.regression
    row = row_of("p50_ms", bench(1), bench(1, verdict=doubtful))
    assert row.doubts == ("other: governor is powersave",)


def test_other_machines_are_shown_and_are_not_a_regression() -> None:
    row = row_of("p50_ms", bench(1, machine=SERVER), bench(9, machine=BOARD))
    assert row.finding is Change.NOT_COMPARABLE
    assert row.exceeds_noise is True
    assert row.regression is False
    assert any("machines differ" in reason for reason in row.unlike)


def test_across_machines_on_request() -> None:
    pair = bench(1, machine=SERVER), bench(9, machine=BOARD)
    assert row_of("p50_ms", *pair, across=["machine"]).finding is Change.REGRESSION


@pytest.mark.parametrize("name", ["scenario", "timed", "colour"])
def test_across_what_must_agree_is_wrong_usage(name: str) -> None:
    with pytest.raises(WrongUsage, match=name) as caught:
        compared(bench(1), bench(1), across=[name])
    assert "machine" in caught.value.hint


def test_passports_of_one_machine_are_compared() -> None:
    slower = passport(2, (1.9, 2.1))
    row = row_of("int8 p50_ms", passport(1, (0.9, 1.1)), slower)
    assert row.precisions == ("", "")
    assert row.finding is Change.REGRESSION
    elsewhere = passport(2, (1.9, 2.1), machine("Cortex-A76"))
    row = row_of("int8 p50_ms", passport(1, (0.9, 1.1)), elsewhere)
    assert row.finding is Change.NOT_COMPARABLE
    row = row_of("int8 p50_ms", passport(1, (0.9, 1.1)), elsewhere, across=["machine"])
    assert row.finding is Change.REGRESSION
