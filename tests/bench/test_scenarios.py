import pytest

from cxredge.bench.scenarios import RULES, Measured, mlperf_shortfalls, score
from cxredge.vocabulary import Scenario

STEADY = [2.0] * 900 + [4.0] * 100


def loadgen(**more: object) -> dict[str, object]:
    return {"valid": True, "invalid_reason": "", **more}


def test_mlperf_numbers() -> None:
    found = {s.value: (rules.samples, rules.percentile) for s, rules in RULES.items()}
    assert found == {"single-stream": (1, 90), "multi-stream": (8, 99), "offline": (16, None)}


@pytest.mark.parametrize(
    ("scenario", "percentile"), [(Scenario.SINGLE_STREAM, 90), (Scenario.MULTI_STREAM, 99)]
)
def test_latency_counts_with_its_percentile(scenario: Scenario, percentile: int) -> None:
    taken = [float(n) for n in range(1, 2001)]
    found = score(RULES[scenario], Measured(taken, 2000, 4.0))
    assert (found["metric"], found["percentile"]) == ("latency_ms", percentile)
    assert found["value"] == pytest.approx(20 * percentile, rel=0.001)
    low, high = found["ci95"]
    assert low < found["value"] < high
    assert found["early_stopping_ms"] > found["value"]


def test_throughput_counts_in_offline() -> None:
    found = score(RULES[Scenario.OFFLINE], Measured([100.0] * 50, 800, 5.0))
    assert (found["metric"], found["value"], found["percentile"]) == (
        "samples_per_second", 160.0, None,
    )  # fmt: skip
    assert found["ci95"] == [160.0, 160.0]
    assert found["early_stopping_ms"] is None


def test_few_queries_have_no_early_stopping_estimate() -> None:
    found = score(RULES[Scenario.MULTI_STREAM], Measured(STEADY[:600], 4800, 2.0))
    assert found["early_stopping_ms"] is None


def test_the_figure_is_loadgens_own_where_it_sent_the_queries() -> None:
    reported = loadgen(percentile_ms=3.5, early_stopping_ms=3.75, samples_per_second=123.0)
    found = score(RULES[Scenario.SINGLE_STREAM], Measured(STEADY, 1000, 2.2, reported))
    assert (found["value"], found["early_stopping_ms"]) == (3.5, 3.75)
    assert score(RULES[Scenario.OFFLINE], Measured(STEADY, 16, 2.2, reported))["value"] == 123.0


def test_what_is_missing_for_a_submission() -> None:
    short = Measured(STEADY, 1000, 10.0)
    assert mlperf_shortfalls(Scenario.SINGLE_STREAM, short) == [
        "it took 10 s, not 600",
        "LoadGen did not send the queries",
    ]
    offline = Measured(STEADY, 1000, 700.0, loadgen(valid=False, invalid_reason="too short"))
    assert mlperf_shortfalls(Scenario.OFFLINE, offline) == [
        "it had 1000 samples, not 24576",
        "LoadGen calls it invalid: too short",
    ]
    whole = Measured(STEADY, 30_000, 601.0, loadgen())
    assert all(mlperf_shortfalls(scenario, whole) == [] for scenario in Scenario)
