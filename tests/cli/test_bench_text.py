"""What ``bench`` prints of results that a machine without a GPU does not produce."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cxredge.backends.base import LayerTime
from cxredge.cli.bench import _text
from cxredge.results.bench import BenchResult, Comparability, Score
from cxredge.vocabulary import Scenario
from tests.results.sample_results import bench, latency

SCORE = Score(metric="latency_ms", percentile=90, value=5.0, ci95=(4.9, 5.1), early_stopping_ms=5.2)
OFFLINE = Score(
    metric="throughput", percentile=None, value=210.5, ci95=(200.1, 220.2), early_stopping_ms=None
)


@pytest.mark.parametrize(
    ("result", "line"),
    [
        (
            bench(5.0, score=SCORE),
            "single-stream: 90th percentile 5.000 ms (4.900-5.100); MLPerf's early-stopping "
            "estimate 5.200 ms",
        ),
        (bench(5.0), "too few queries for MLPerf's early-stopping estimate"),
        (
            bench(5.0, latency_ms=latency(5.0, count=20)),
            "the 90th percentile counts, which requires at least 36 queries; there are 20",
        ),
        (
            bench(5.0, scenario=Scenario.OFFLINE, score=OFFLINE),
            "offline: 210.5 images per second (200.1-220.2)",
        ),
        (bench(5.0), "Comparable with other results."),
        (
            bench(5.0, verdict=Comparability.given(["the clocks changed"])),
            "Not comparable with other results:\n  - the clocks changed",
        ),
        (bench(5.0), "int8, 1 thread, harness builtin: 2000 queries of 1 in 10.0 s"),
        (bench(5.0, threads=4), "int8, 4 threads, "),
    ],
)
def test_a_result_in_words(result: BenchResult, line: str) -> None:
    assert line in _text(result, Path("r.json"))


def test_percentiles_of_too_few_measurements_are_dashes() -> None:
    few = latency(5.0, count=20)
    text = _text(bench(5.0, latency_ms=few, stages_ms={"compute": few}), Path("r.json"))
    assert "-: too few measurements; at least 36 for p90, 368 for p99" in text


def test_kinds_of_memory_and_the_slowest_layers_are_tables() -> None:
    layers = tuple(LayerTime(f"conv{n}", mean_ms=ms) for n, ms in ((1, 0.3), (2, 0.1)))
    memory = {"pinned": latency(5.0), "mapped": latency(4.0)}
    found = replace(bench(5.0), memory_ms=memory, layers_ms=layers)
    lines = [line.split() for line in _text(found, Path("r.json")).splitlines()]
    assert ["pinned", "5.000", "5.000"] in lines
    assert ["mapped", "4.000", "4.000"] in lines
    assert ["0.3000", "75%", "conv1"] in lines
    assert any("slowest of 2 layers" in " ".join(line) for line in lines)
