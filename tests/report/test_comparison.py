"""Several bundles or several devices in one report."""

from __future__ import annotations

import csv
import json
import shutil
from statistics import fmean

import pytest

from cxredge.artifacts.hashing import with_content_hash
from cxredge.artifacts.records import to_json
from cxredge.comparison import Limits, compare, read_result_set
from cxredge.report import numbers, write_comparison, write_report
from cxredge.results.bench import BoardStates
from cxredge.telemetry.energy import EnergyPerImage
from cxredge.telemetry.jetson import JetsonState
from tests.report.sample_bundles import change_result, page_of, result_of


class TestSeveralDevices:
    @pytest.fixture
    def board(self, bundles):
        """Return a result of the same bundle on a board that reports its power."""
        result = result_of(bundles / "first", "bench-files.json")
        result["machine"] = {
            **result["machine"],
            "cpu": None,
            "cores": 6,
            "architecture": "aarch64",
        }
        state = JetsonState(None, None, (), None, {}, {})
        result["jetson"] = to_json(BoardStates(before=state, after=state))
        energy = EnergyPerImage("power rails", 75.0, 7.5, 0.0421)
        result |= {"target": "jetson-orin-nano", "energy": to_json(energy), "precision": "fp16"}
        result["verdict"] = {"comparable": True, "reasons": []}
        result["queries"]["needed"] = result["queries"]["count"]
        path = bundles / "board.json"
        path.write_text(json.dumps(with_content_hash(result)))
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


class TestAnotherMachine:
    @pytest.fixture
    def elsewhere(self, bundles):
        """A bundle for a board whose benchmarks ran on this machine."""
        for path in (bundles / "first" / "results").glob("bench-*.json"):
            reasons = ["this machine is not the target, jetson-orin-nano"]
            change_result(
                path,
                target="jetson-orin-nano",
                on_target=False,
                verdict={"comparable": False, "reasons": reasons},
            )
        return bundles / "first"

    def test_its_times_are_no_headlines_of_the_target(self, bundles, elsewhere):
        latency = result_of(elsewhere, "bench-files.json")["latency_ms"]
        shown = numbers.milliseconds(latency["p50"])
        page = page_of(bundles / "r.html", elsewhere)
        headlines = page[page.index('<div class="headlines">') : page.index('class="checks"')]
        assert shown not in headlines
        assert headlines.count("on jetson-orin-nano; run cxredge bench there") == 4
        assert "None of these was measured on the target, jetson-orin-nano" in page
        assert "INT8, on " in page
        assert "which is not the target, jetson-orin-nano" in page

    def test_its_times_are_in_no_column_of_the_target(self, bundles, elsewhere):
        latency = result_of(elsewhere, "bench-files.json")["latency_ms"]
        shown = numbers.milliseconds(latency["p50"])
        page = page_of(bundles / "r.html", elsewhere, bundles / "second")
        assert shown not in page[: page.index('<article class="chapter">')]
        assert "first was not measured on its target, jetson-orin-nano" in page
        rows = list(csv.DictReader(page_of(bundles / "r.csv", elsewhere).splitlines()))
        of_times = [row for row in rows if row["unit"] == "ms"]
        assert of_times
        assert {row["target"] for row in of_times} == {""}

    def test_older_results_state_it_in_their_verdict(self, bundles, elsewhere):
        for path in (elsewhere / "results").glob("bench-*.json"):
            values = json.loads(path.read_text())
            del values["on_target"]
            path.write_text(json.dumps(with_content_hash(values)))
        page = page_of(bundles / "r.html", elsewhere)
        assert "None of these was measured on the target" in page

    def test_a_board_that_is_not_the_target_is_not_named_as_it(self, bundles, elsewhere):
        state = JetsonState(None, None, (), None, {}, {})
        boards = to_json(BoardStates(before=state, after=state))
        for path in (elsewhere / "results").glob("bench-*.json"):
            machine = {**json.loads(path.read_text())["machine"], "cpu": "Cortex-A78AE"}
            change_result(path, jetson=boards, machine=machine)
        assert "INT8, on Cortex-A78AE" in page_of(bundles / "r.html", elsewhere)


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
        change_result(path, manifest_sha256="0" * 64)
        page = page_of(bundles / "r.html", bundles / "first", copy)
        assert "Evaluated on different images" in page
        assert "evaluation of first" in page[page.index("Not compared") :]

    def test_differences_equal_those_of_compare(self, bundles):
        copy = shutil.copytree(bundles / "first", bundles / "copy")
        path = copy / "results" / "bench-files.json"
        result = json.loads(path.read_text())
        latency, score = result["latency_ms"], result["score"]
        score["value"] *= 10
        result["histogram_ms"] = [10 * v for v in result["histogram_ms"]]
        latency["mean"] = fmean(result["histogram_ms"])  # Ten times a rounded mean is not exact.
        for percentile in ("p50", "p90", "p99"):
            latency[percentile] *= 10
            latency[f"{percentile}_ci95"] = [10 * v for v in latency[f"{percentile}_ci95"]]
        change_result(path, **result)
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


class TestSeveralEvaluations:
    @pytest.fixture
    def two(self, bundles):
        """A bundle that was evaluated on the manifest of its build and on another one."""
        results = bundles / "first" / "results"
        other = results / "evaluate-a-first.json"
        shutil.copy(results / "evaluate-test-int8.json", other)
        change_result(other, manifest_sha256="c" * 64)
        return bundles / "first"

    def test_all_are_shown_and_the_one_of_the_build_comes_first(self, bundles, two):
        of_build = result_of(two, "evaluate-test-int8.json")["manifest_sha256"][:12]
        text = page_of(bundles / "r.md", two)
        first = text.index(f"Manifest {of_build}, split 'test': shown in the headlines")
        assert first < text.index("Manifest cccccccccccc, split 'test': another set of images")
        assert text.count("#### Confusion matrix") == 2
        assert "Accuracy differs between sets of images; the first is shown" in text

    def test_a_comparison_in_a_file_names_no_folders(self, bundles, two):
        copy = shutil.copytree(two, bundles / "other" / "first")
        found = compare(read_result_set(two), [read_result_set(copy)], Limits())
        for suffix in (".html", ".md", ".csv"):
            write_comparison(found, bundles / f"c{suffix}")
            text = (bundles / f"c{suffix}").read_text()
            assert str(bundles) not in text
            assert "first (2)" in text.replace("\\", "")
