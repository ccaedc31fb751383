"""The report: one view model of bundles and their results, rendered as HTML, Markdown or JSON."""

from __future__ import annotations

from cxredge.report.compared import write_comparison
from cxredge.report.write import Written, write_report

__all__ = ["Written", "write_comparison", "write_report"]
