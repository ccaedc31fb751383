"""Latency and throughput with the circumstances that decide whether they can be compared.

``scenarios`` says what is asked for, ``workload`` answers queries and times their stages,
``loadgen`` and ``builtin`` send them, ``accuracy`` judges the same session's answers, ``run``
puts it all into one result.
"""

from __future__ import annotations

from cxredge.bench.accuracy import Labelled
from cxredge.bench.result import SCHEMA
from cxredge.bench.run import BenchConfig, bench

__all__ = ["SCHEMA", "BenchConfig", "Labelled", "bench"]
