"""Several bundles or several devices in one report."""

from __future__ import annotations

import json
import shutil

import pytest

from cxredge.artifacts.records import to_json
from cxredge.report import write_report
from cxredge.results.bench import BoardStates
from cxredge.telemetry.energy import EnergyPerImage
from cxredge.telemetry.jetson import JetsonState
from tests.report.sample_bundles import page_of, result_of


class TestSeveralDevices:
    @pytest.fixture
    def board(self, bundles):
        """Return a result of the same bundle on a board that reports its power."""
        result = result_of(bundles / "first", "bench-files.json")
        result["machine"] = {**result["machine"], "cpu": None, "cores": 6}
        state = JetsonState(None, None, (), None, {}, {})
        result["jetson"] = to_json(BoardStates(before=state, after=state))
        energy = EnergyPerImage("power rails", 75.0, 7.5, 0.0421)
        result |= {"target": "jetson-orin-nano", "energy": to_json(energy), "precision": "fp16"}
        result["verdict"] = {"comparable": True, "reasons": []}
        path = bundles / "board.json"
        path.write_text(json.dumps(result))
        return path

    def test_machines_are_distinguished_in_table_and_chart(self, bundles, board):
        page = page_of(bundles / "r.html", bundles / "first", board)
        table = page[page.index("All benchmarks of this bundle") :]
        table = table[: table.index("</table>")]
        assert "FP16, jetson-orin-nano" in table
        assert "42.1 mJ" in table
        assert "not available" in table
        chart = page[page.index("<title>Latencies side by side") :]
        assert "jetson-orin-nano" in chart[: chart.index("</svg>")]
        assert page.count("<h3>Machine: ") == 2

    def test_circumstances_are_side_by_side(self, bundles, board):
        text = page_of(bundles / "r.md", bundles / "first", board)
        (line,) = (line for line in text.splitlines() if line.startswith("| Cold start: loading"))
        assert line.count(" ms |") == 3
        (line,) = (line for line in text.splitlines() if line.startswith("| Power"))
        assert "7.50 W (power rails)" in line
        assert line.count("not available") == 2

    def test_one_warning_for_all_doubtful_benchmarks(self, bundles, board):
        written = write_report([bundles / "first", board], bundles / "r.html")
        (warning,) = (w for w in written.warnings if "benchmarks cannot be compared" in w)
        assert warning.startswith("2 of 3 benchmarks")
        assert "a 99th percentile needs 1000" in warning


class TestSeveralBundles:
    def test_comparison_comes_first(self, bundles):
        page = page_of(bundles / "r.html", bundles / "first", bundles / "second")
        table = page[page.index("Side by side") : page.index("</table>")]
        assert "first" in table
        assert "second" in table
        assert page.index("Side by side") < page.index('<article class="chapter">')
        assert page.count('<article class="chapter">') == 2

    def test_incomparable_results_are_named(self, bundles):
        page = page_of(bundles / "r.html", bundles / "first", bundles / "second")
        assert "Not all bundles were evaluated" in page
        copy = shutil.copytree(bundles / "first", bundles / "copy")
        path = copy / "results" / "evaluate-test-int8.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "manifest_sha256": "0" * 64}))
        page = page_of(bundles / "r.html", bundles / "first", copy)
        assert "Evaluated on different images" in page
        assert "evaluation of first" in page[page.index("Not compared") :]

    def test_differences_equal_those_of_compare(self, bundles):
        copy = shutil.copytree(bundles / "first", bundles / "copy")
        path = copy / "results" / "bench-files.json"
        result = json.loads(path.read_text())
        latency = result["latency_ms"]
        for percentile in ("p50", "p90", "p99"):
            latency[percentile] *= 10
            latency[f"{percentile}_ci95"] = [10 * v for v in latency[f"{percentile}_ci95"]]
        path.write_text(json.dumps(result))
        text = page_of(bundles / "r.md", bundles / "first", copy)
        (line,) = (line for line in text.splitlines() if line.startswith("| p50 |"))
        assert "+900.0%" in line
        assert line.endswith("| 0.05 | regression |")
        assert "Regressions beyond noise and limit: p50 of copy" in text

    def test_bundles_with_the_same_name_are_numbered(self, bundles):
        other = shutil.copytree(bundles / "second", bundles / "deep" / "first")
        page = page_of(bundles / "r.html", bundles / "first", other)
        assert "first (1)" in page
        assert "first (2)" in page
