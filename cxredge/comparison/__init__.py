"""Results side by side: what differs, by more than the noise or not, and what may be compared."""

from __future__ import annotations

from cxredge.comparison.figures import Limits
from cxredge.comparison.rows import Comparison, Finding, Row, compare
from cxredge.comparison.sides import Side, read_side

__all__ = ["Comparison", "Finding", "Limits", "Row", "Side", "compare", "read_side"]
