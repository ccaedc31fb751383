"""Latency and throughput, with the circumstances that decide whether they can be compared.

``scenarios`` holds the rules of MLPerf's scenarios; ``workload`` answers queries and times their
stages; ``loadgen`` and ``builtin`` send the queries; ``accuracy`` measures the accuracy of the same
session; ``run`` composes them into one result.
"""

from __future__ import annotations

from cxredge.bench.accuracy import LabelledSplit
from cxredge.bench.run import BenchConfig, bench

__all__ = ["BenchConfig", "LabelledSplit", "bench"]
