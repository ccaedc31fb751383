"""Which results are held against each other, and which are not alike enough."""

from typing import Any

import pytest

from cxredge.comparison import Change, Limits, compare
from cxredge.errors import ArtifactError, WrongUsage
from tests.comparison.results import BOARD, SERVER, bench, compared, evaluation, passport, side


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
    (beside,) = compared(bench(1, (1, 1)), bench(2, (2, 2), cascade={"near": 1, "images": 20}))
    assert beside.precisions == ("int8", "int8 + fp32")


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
    assert rows["joules_per_image"].finding is Change.NO_INTERVAL
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


def test_other_machines_are_shown_and_are_no_regression() -> None:
    (row,) = compared(bench(1, (1, 1), **SERVER), bench(9, (9, 9), **BOARD))
    assert row.finding is Change.NOT_COMPARABLE
    assert row.exceeds_noise is True
    assert row.regression is False
    assert any("machines differ" in reason for reason in row.unlike)


def test_across_machines_when_it_is_meant() -> None:
    (row,) = compared(bench(1, (1, 1), **SERVER), bench(9, (9, 9), **BOARD), across=["machine"])
    assert row.finding is Change.REGRESSION


@pytest.mark.parametrize("name", ["scenario", "timed", "colour"])
def test_across_what_must_agree_is_wrong_usage(name: str) -> None:
    with pytest.raises(WrongUsage, match=name) as caught:
        compared(bench(1, (1, 1)), bench(1, (1, 1)), across=[name])
    assert "machine" in caught.value.hint


def test_passports_of_one_machine_are_compared() -> None:
    (row,) = compared(passport(1, (0.9, 1.1)), passport(2, (1.9, 2.1)))
    assert row.metric == "int8 p50_ms"
    assert row.finding is Change.REGRESSION
    (row,) = compared(passport(1, (0.9, 1.1)), passport(2, (1.9, 2.1), cpu="Cortex-A76"))
    assert row.finding is Change.NOT_COMPARABLE
