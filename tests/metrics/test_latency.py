import math
import time
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxredge.metrics.latency import (
    block_interval,
    early_stopping,
    interleave,
    least_count,
    order_statistic_interval,
    summarise,
    take_turns,
)


def test_percentiles_of_a_known_sample() -> None:
    found = summarise([float(n) for n in range(100, -1, -1)])
    assert (found.count, found.mean, found.p50, found.p90, found.p99) == (101, 50, 50, 90, 99)
    assert found.cv == pytest.approx(np.std(np.arange(101)) / 50)


def test_outliers_are_kept() -> None:
    found = summarise([1.0] * 99 + [1000.0])
    assert found.mean == pytest.approx(10.99)
    assert found.p99_ci95[1] == 1000


def test_single_measurement_is_its_own_percentile() -> None:
    found = summarise([2.5])
    assert (found.p50, found.p99, found.cv) == (2.5, 2.5, 0)
    assert found.p50_ci95 == found.p90_ci95 == found.p99_ci95 == (2.5, 2.5)


@pytest.mark.parametrize(
    ("count", "supported"),
    [
        (1, ()), (5, ()), (6, ("p50",)), (35, ("p50",)), (36, ("p50", "p90")),
        (367, ("p50", "p90")), (368, ("p50", "p90", "p99")),
    ],
)  # fmt: skip
def test_percentiles_of_too_few_measurements_are_not_supported(
    count: int, supported: tuple[str, ...]
) -> None:
    found = summarise([float(n) for n in range(count)])
    assert found.supported_percentiles == supported
    assert [one.name for one in found.percentiles] == list(supported)
    assert (found.percentile("p99") is None) == ("p99" not in supported)
    assert found.to_json()["supported_percentiles"] == list(supported)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_the_least_count_is_the_first_whose_maximum_is_an_upper_bound(share: float) -> None:
    least = least_count(share)
    assert share**least <= 0.025 < share ** (least - 1)


def test_no_measurement_is_refused() -> None:
    with pytest.raises(ValueError, match="no latencies"):
        summarise([])
    with pytest.raises(ValueError, match="no latencies"):
        summarise(np.array([]))


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60))
def test_order_does_not_matter_and_intervals_hold_the_percentiles(taken: list[float]) -> None:
    found = summarise(taken)
    assert found == summarise(taken[::-1])
    assert min(taken) <= found.p50 <= found.p90 <= found.p99 <= max(taken)
    for share in ("p50", "p90", "p99"):
        low, high = getattr(found, f"{share}_ci95")
        assert low <= getattr(found, share) <= high or high == max(taken)
        assert {low, high} <= set(taken)


def test_json_is_rounded_and_has_lists() -> None:
    found = summarise([1.00001, 2.123456, 3.0]).to_json()
    assert found["p50"] == 2.1235
    assert found["p50_ci95"] == [1.0, 3.0]
    assert found["count"] == 3
    assert set(found) == {
        "count", "mean", "p50", "p90", "p99", "p50_ci95", "p90_ci95", "p99_ci95", "cv",
        "supported_percentiles",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("count", "share"), [(20, 0.5), (100, 0.5), (1000, 0.5), (100, 0.9), (1000, 0.9), (2000, 0.99)]
)
def test_interval_holds_the_true_percentile_in_95_of_100_samples(count: int, share: float) -> None:
    rng = np.random.default_rng(count)
    samples = np.sort(rng.uniform(size=(1500, count)), axis=1)
    intervals = np.array([order_statistic_interval(sample, share) for sample in samples])
    covered = np.mean((intervals[:, 0] <= share) & (share <= intervals[:, 1]))
    assert 0.935 <= covered <= 0.99


def test_interval_shrinks_with_the_root_of_the_sample() -> None:
    def width(count: int) -> float:
        low, high = order_statistic_interval(np.linspace(0, 1, count), 0.5)
        return high - low

    assert width(100) / width(10_000) == pytest.approx(10, rel=0.15)


@pytest.mark.parametrize("count", range(1, 12))
@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.99])
def test_interval_of_few_samples_stays_inside_them(count: int, share: float) -> None:
    low, high = order_statistic_interval(np.arange(count, dtype=float), share)
    assert 0 <= low <= high <= count - 1
    if share == 0.99:
        assert high == count - 1


def test_calls_take_turns_and_warm_up_is_not_counted() -> None:
    calls: list[str] = []
    taken = interleave(
        {name: lambda name=name: calls.append(name) for name in "abc"}, warm_up=2, rounds=3
    )
    assert calls == list("abc") * 5
    assert {name: len(values) for name, values in taken.items()} == {"a": 3, "b": 3, "c": 3}


def test_times_are_milliseconds_in_the_order_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0, 9_000_000, 10_000_000, 11_500_000, 20_000_000, 20_250_000])
    monkeypatch.setattr(time, "perf_counter_ns", lambda: next(clock))
    assert interleave({"a": lambda: None}, warm_up=1, rounds=2) == {"a": [1.5, 0.25]}


def test_a_failing_call_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        interleave({"a": lambda: 1 / 0}, warm_up=0, rounds=1)


def test_no_rounds_give_no_times() -> None:
    assert interleave({"a": lambda: None}, warm_up=1, rounds=0) == {"a": []}


@pytest.mark.parametrize(
    ("count", "share", "beyond"),
    # LoadGen's: 64 and 662 queries are the least, 834 leave out the 62 highest.
    [(63, 0.9, None), (64, 0.9, 1), (661, 0.99, None), (662, 0.99, 1), (834, 0.9, 63)],
)
def test_early_stopping_allows_what_mlperf_allows(
    count: int, share: float, beyond: int | None
) -> None:
    values = np.random.default_rng(0).permutation(count).astype(float)
    assert early_stopping(values, share) == (None if beyond is None else count - beyond)


def test_early_stopping_is_exact() -> None:
    count, share = 300, 0.9
    found = early_stopping(list(range(count)), share)
    assert found is not None
    beyond = count - int(found)

    def chance(most: int) -> float:
        return sum(
            math.comb(count, k) * (1 - share) ** k * share ** (count - k) for k in range(most + 1)
        )

    assert chance(beyond) < 0.01 <= chance(beyond + 1)


def test_early_stopping_of_nothing() -> None:
    assert early_stopping([], 0.9) is None


def p90(values: np.ndarray) -> float:
    return float(np.percentile(values, 90))


def test_interval_of_blocks_is_that_of_order_statistics_without_memory() -> None:
    values = np.random.default_rng(3).gamma(3, 1, 2000)
    low, high = block_interval(values, p90)
    expected = order_statistic_interval(np.sort(values), 0.9)
    assert high - low == pytest.approx(expected[1] - expected[0], rel=0.25)
    assert low <= p90(values) <= high


def test_interval_of_blocks_is_wider_where_neighbours_resemble_each_other() -> None:
    rng = np.random.default_rng(4)
    drifting = np.zeros(3000)
    for i in range(1, len(drifting)):
        drifting[i] = 0.9 * drifting[i - 1] + rng.normal()
    low, high = block_interval(drifting, lambda v: float(v.mean()))
    shuffled = block_interval(rng.permutation(drifting), lambda v: float(v.mean()))
    assert high - low > 2 * (shuffled[1] - shuffled[0])


def test_interval_of_blocks_is_the_same_every_time() -> None:
    values = list(np.random.default_rng(5).uniform(size=50))
    assert block_interval(values, p90) == block_interval(values, p90)
    assert block_interval([2.0], p90) == (2.0, 2.0)


def test_a_turn_lasts_for_a_stretch_whose_first_part_is_not_counted() -> None:
    calls: list[str] = []

    def call(name: str) -> None:
        calls.append(name)
        time.sleep(0.005)

    candidates = {name: (lambda name=name: call(name)) for name in "ab"}
    taken = take_turns(candidates, seconds=0.06, settle_s=0.01, stretch_s=0.03)
    runs = [len(list(group)) for _, group in groupby(calls)]
    assert [name for name, _ in groupby(calls)] == ["a", "b"] * (len(runs) // 2)
    assert len(runs) >= 4
    assert len(calls) > len(taken["a"]) + len(taken["b"])
    for values in taken.values():
        assert sum(values) >= 60
        assert min(values) >= 5


def test_slow_calls_are_timed_ten_times() -> None:
    taken = take_turns({"a": lambda: time.sleep(0.002)}, seconds=0, settle_s=0, stretch_s=0)
    assert len(taken["a"]) == 10
