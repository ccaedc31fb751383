"""Results side by side: what differs, by more than the noise or not, and what may be compared."""

from __future__ import annotations

from cxredge.comparison.metrics import Limits
from cxredge.comparison.rows import Change, Comparison, ComparisonRow, compare
from cxredge.comparison.sides import ResultSet, read_result_set

__all__ = [
    "Change",
    "Comparison",
    "ComparisonRow",
    "Limits",
    "ResultSet",
    "compare",
    "read_result_set",
]
