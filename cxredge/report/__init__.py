"""Reports: one view model of bundles and their results, rendered as HTML, Markdown, CSV or JSON."""

from __future__ import annotations

from cxredge.report.comparison_page import write_comparison
from cxredge.report.write import ReportSummary, write_report

__all__ = ["ReportSummary", "write_comparison", "write_report"]
