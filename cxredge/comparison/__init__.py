"""Comparison of results: which differences exceed the noise, and which results are comparable."""

from __future__ import annotations

from cxredge.comparison.metrics import Limits
from cxredge.comparison.result_set import ResultSet, read_result_set
from cxredge.comparison.rows import Change, Comparison, ComparisonRow, compare, compare_what_matches

__all__ = [
    "Change",
    "Comparison",
    "ComparisonRow",
    "Limits",
    "ResultSet",
    "compare",
    "compare_what_matches",
    "read_result_set",
]
