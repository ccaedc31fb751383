"""Reports of real bundles as Markdown, CSV and JSON, and by the command."""

from __future__ import annotations

import csv
import json
import re

from typer.testing import CliRunner

from cxredge.cli import app
from cxredge.report import numbers
from cxredge.vocabulary import NOTICE
from tests.report.sample_bundles import CLASSES, page_of, result_of


class TestOtherFormats:
    def test_markdown_has_numbers_and_no_html(self, bundles):
        text = page_of(bundles / "r.md", bundles / "first")
        found = result_of(bundles / "first", "evaluate-test-int8.json")
        assert numbers.share(found["accuracy"], found["accuracy_ci95"]) in text
        assert NOTICE in text
        assert "<svg" not in text
        assert "<script>" not in text
        assert r"viral\|\*x\*" in text

    def test_markdown_tables_have_as_many_cells_as_columns(self, bundles):
        text = page_of(bundles / "r.md", bundles / "first", bundles / "second")
        lines = text.splitlines()
        widths = [len(re.findall(r"(?<!\\)\|", line)) for line in lines]
        rules = [i for i, line in enumerate(lines) if line.startswith("| ---")]
        assert len(rules) > 20
        for i in rules:
            assert widths[i - 1] == widths[i] == widths[i + 1]

    def test_csv_has_every_metric_with_its_interval(self, bundles):
        rows = list(csv.DictReader(page_of(bundles / "r.csv", bundles / "first").splitlines()))
        found = result_of(bundles / "first", "evaluate-test-int8.json")
        (accuracy,) = (r for r in rows if r["figure"] == "accuracy")
        assert float(accuracy["value"]) == found["accuracy"]
        assert float(accuracy["ci95_low"]) == found["accuracy_ci95"][0]
        assert "split test" in accuracy["measured"]
        latency = result_of(bundles / "first", "bench-files.json")["latency_ms"]
        p90 = [r for r in rows if (r["figure"], r["of"]) == ("latency p90", "")]
        assert latency["p90"] in [float(r["value"]) for r in p90]
        assert all("a 99th percentile needs 1000" in r["verdict"] for r in p90)
        p99 = [r for r in rows if (r["figure"], r["of"]) == ("latency p99", "")]
        assert {(r["value"], r["verdict"].split(";")[0]) for r in p99} == {("", "too few queries")}
        assert {r["target"] for r in p90} == {"cpu-x86"}
        assert {r["of"] for r in rows if r["figure"] == "sensitivity"} == set(CLASSES)

    def test_unmeasured_metrics_are_empty_in_csv(self, bundles):
        rows = list(csv.DictReader(page_of(bundles / "r.csv", bundles / "second").splitlines()))
        unmeasured = [r for r in rows if r["measured"] == "not measured"]
        assert {r["figure"] for r in unmeasured} >= {"accuracy", "latency p50", "energy per image"}
        assert {r["value"] for r in unmeasured} == {""}

    def test_csv_contains_no_formula(self, bundles):
        evil = bundles / "=HYPERLINK(1)"
        (bundles / "first").rename(evil)
        rows = list(csv.DictReader(page_of(bundles / "r.csv", evil).splitlines()))
        assert rows[0]["bundle"] == "'=HYPERLINK(1)"

    def test_json_is_the_view_model(self, bundles):
        value = json.loads(page_of(bundles / "r.json", bundles / "first"))
        found = result_of(bundles / "first", "evaluate-test-int8.json")
        assert value["schema"] == "cxredge.report/2"
        accuracy = value["chapters"][0]["headlines"][0]
        assert accuracy["value"] == found["accuracy"]
        assert accuracy["ci95"] == found["accuracy_ci95"]
        assert "<svg" not in json.dumps(value)

    def test_file_names_that_are_not_utf8_are_written(self, bundles):
        odd = (bundles / "second").rename(bundles / "caf\udce9")
        for suffix in (".html", ".md", ".json"):
            page = page_of(bundles / f"r{suffix}", odd)
            assert "caf?" in page or "caf\N{REPLACEMENT CHARACTER}" in page


class TestCommand:
    def test_json(self, bundles):
        out = bundles / "r.html"
        ran = CliRunner().invoke(
            app, ["report", str(bundles / "first"), "--out", str(out), "--json"]
        )
        assert ran.exit_code == 0, ran.output
        value = json.loads(ran.stdout)
        assert value["report"] == str(out)
        assert (value["bundles"], value["results"]) == (1, 3)
        assert out.is_file()

    def test_failure_prints_a_message_and_exits_1(self, bundles):
        ran = CliRunner().invoke(
            app, ["report", str(bundles / "none"), "--out", str(bundles / "r.html")]
        )
        assert ran.exit_code == 1
        assert "does not exist" in ran.output
        assert "Traceback" not in ran.output
