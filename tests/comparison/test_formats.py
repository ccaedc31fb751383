"""A comparison written as HTML, Markdown and CSV."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from cxredge.artifacts.csv_text import csv_line
from cxredge.comparison import Limits, compare
from cxredge.errors import CxredgeError
from cxredge.report.comparison_page import write_comparison
from tests.comparison.result_sets import result_set
from tests.results.sample_results import BOARD, SERVER, bench, evaluation


class TestWritten:
    @pytest.fixture
    def found(self) -> Any:
        name = "<script>|B"
        other = result_set(
            bench(2, (1.9, 2.1), machine=BOARD), evaluation(0.7, (0.6, 0.8)), name=name
        )
        first = result_set(
            bench(1, (0.9, 1.1), machine=SERVER), evaluation(0.9, (0.85, 0.95)), name="x/A"
        )
        return compare(first, [other], Limits())

    def test_page_shows_findings_and_reasons_and_escapes(self, found: Any, tmp_path: Path) -> None:
        write_comparison(found, tmp_path / "c.html")
        page = (tmp_path / "c.html").read_text()
        assert "&lt;script&gt;" in page
        assert "<script" not in page
        for words in ("not comparable", "regression", "machines differ", "Research use only"):
            assert words in page

    def test_markdown_rows(self, found: Any, tmp_path: Path) -> None:
        write_comparison(found, tmp_path / "c.md")
        (line,) = [
            line
            for line in (tmp_path / "c.md").read_text().splitlines()
            if line.startswith("| accuracy")
        ]
        assert "| 90.0% | 70.0% | \N{MINUS SIGN}20.0 points" in line
        assert line.endswith("| 0.01 | regression |")

    def test_csv_has_the_numbers(self, found: Any, tmp_path: Path) -> None:
        for _ in range(2):
            write_comparison(found, tmp_path / "c.csv")
        rows = list(csv.DictReader((tmp_path / "c.csv").read_text().splitlines()))
        latency = next(row for row in rows if row["figure"] == "p50_ms")
        assert (float(latency["before"]), float(latency["after"])) == (1, 2)
        assert float(latency["difference_ci95_low"]) == pytest.approx(1 - 0.02**0.5)
        assert "machines differ" in latency["not_comparable_for"]

    def test_other_tables_are_not_replaced(self, found: Any, tmp_path: Path) -> None:
        path = tmp_path / "manifest.csv"
        path.write_text(csv_line(["path", "label"]))
        with pytest.raises(CxredgeError, match="not replaced"):
            write_comparison(found, path)
        assert path.read_text() == "path,label\n"

    def test_unknown_extension(self, found: Any, tmp_path: Path) -> None:
        with pytest.raises(CxredgeError, match=r"\.html, \.md or \.csv"):
            write_comparison(found, tmp_path / "c.pdf")
