"""HTML report of a real bundle: contents, and no external resources or scripts."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image

from cxredge.bundle.bundle import open_bundle
from cxredge.report import numbers, write_report
from cxredge.report.xrays import png
from cxredge.vocabulary import NOTICE
from tests.report.sample_bundles import SECRET_FOLDER, gate_of, page_of, result_of, words_of


class TestHtml:
    @pytest.fixture
    def page(self, bundles):
        return page_of(bundles / "r.html", bundles / "first")

    def test_no_external_resources_and_no_scripts(self, page):
        assert "<script" not in page.lower()
        assert "javascript:" not in page.lower()
        assert "http://" not in page
        assert "https://" not in page
        assert "url(" not in page
        assert "@import" not in page
        references = re.findall(r"(?:src|href)=\"([^\"]*)\"", page)
        assert references
        assert all(r.startswith(("data:image/png;base64,", "#")) for r in references)
        assert "default-src 'none'" in page

    def test_links_within_the_page_have_targets(self, page):
        identifiers = re.findall(r" id=\"([^\"]+)\"", page)
        assert len(identifiers) == len(set(identifiers))
        assert set(re.findall(r"href=\"#([^\"]+)\"", page)) <= set(identifiers)

    def test_class_names_are_escaped(self, page):
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page

    def test_numbers_are_shown_with_their_intervals(self, page, bundles):
        page = words_of(page)
        found = result_of(bundles / "first", "evaluate-test-int8.json")
        low, high = found["accuracy_ci95"]
        assert numbers.share(found["accuracy"], found["accuracy_ci95"]) in page
        assert f"{100 * low:.1f}\N{EN DASH}{100 * high:.1f}%" in page
        row = found["by_class"]["normal"]
        for name in ("recall", "sensitivity", "specificity"):
            assert numbers.share(row[name], row[f"{name}_ci95"]) in page
        assert numbers.fraction(row["auroc"], row["auroc_ci95"]) in page
        latency = result_of(bundles / "first", "bench-files.json")["latency_ms"]
        for percentile in ("p50", "p90"):
            shown = numbers.milliseconds(latency[percentile], latency[f"{percentile}_ci95"])
            assert shown in page

    def test_percentiles_of_too_few_queries_are_not_shown(self, page, bundles):
        latency = result_of(bundles / "first", "bench-files.json")["latency_ms"]
        assert latency["count"] == 40
        assert numbers.milliseconds(latency["p99"], latency["p99_ci95"]) not in page
        assert "p99 " not in words_of(page[page.index("<title>Latencies:") :]).split("Percent")[0]
        assert numbers.TOO_FEW in page
        assert "368 for the 99th percentile" in page

    def test_headline_is_the_latency_from_files(self, page, bundles):
        latency = result_of(bundles / "first", "bench-files.json")["latency_ms"]
        assert f'<div class="number">{numbers.milliseconds(latency["p50"])}</div>' in page

    def test_notice_and_warnings_come_before_the_numbers(self, page):
        notice = page.index(NOTICE)
        confounded = page.index("Classes come from different sources")
        doubted = page.index("a 99th percentile needs 1000")
        assert notice < confounded < doubted < page.index('<div class="headline">')

    def test_repeated_warnings_are_shown_once(self, page):
        assert page.count("Classes come from different sources") == 1

    def test_changed_decisions_have_a_position_and_no_file_name(self, page, bundles):
        flipped = result_of(bundles / "first", "evaluate-test-int8.json")["flipped"]
        assert flipped
        assert f">image {flipped[0]['index']}<" in page
        for path in (bundles / "first").rglob("*"):
            content = path.read_bytes() if path.is_file() else b""
            assert SECRET_FOLDER.encode() not in content
            assert b".png" not in content
        assert SECRET_FOLDER not in page
        assert ".png" not in page

    def test_no_paths_of_this_machine(self, page, bundles):
        assert str(bundles) not in page

    def test_wrong_predictions_are_marked(self, page, bundles):
        bundle = open_bundle(bundles / "first")
        with np.load(bundles / "first" / "golden.npz") as golden:
            wrong = golden["logits_int8"].argmax(1) != golden["labels"]
            kept = len(np.load(bundles / "first" / "flipped.npz")["indices"])
            appendix = page[page.index("Appendix for engineers") :]
            assert appendix.count("data:image/png;base64,") == len(wrong) + kept
        assert wrong.any()
        assert page.count('class="xray wrong"') == wrong.sum()
        assert bundle.precision.value == "int8"

    def test_changed_decisions_are_shown_for_both_precisions(self, page, bundles):
        gate = gate_of(bundles / "first")
        assert gate["flipped"]
        assert page.count('class="xray flip') == len(gate["flipped"])
        flip = gate["flipped"][0]
        assert f"{flip['fp32']} {numbers.share(flip['probability_fp32'])}</div>" in page
        assert f"{flip['now']} {numbers.share(flip['probability_now'])}</div>" in page
        with np.load(bundles / "first" / "flipped.npz") as kept:
            assert flip["index"] in kept["indices"]
            assert png(kept["pixels"][0]) in page

    def test_gate_is_shown_with_limits_verdicts_and_drift(self, page, bundles):
        gate = gate_of(bundles / "first")
        assert "Gate: INT8 passed" in page
        for check in gate["checks"]:
            assert check["verdict"] in page
            assert check["limit_text"] in page
        for row in gate["thresholds"]:
            assert numbers.signed(row["drift"]) in page
            assert numbers.share(row["sensitivity_kept"]) in page

    def test_cautions_of_the_gate_are_warnings(self, page, bundles):
        cautions = gate_of(bundles / "first")["cautions"]
        written = write_report([bundles / "first"], bundles / "again.html")
        assert set(cautions) <= set(written.warnings)

    def test_xrays_can_be_left_out(self, bundles):
        page = page_of(bundles / "r.html", bundles / "first", xrays=False)
        assert "data:image" not in page
        assert "predicted: <b>" in page

    def test_unreadable_state_is_not_available(self, bundles):
        path = bundles / "first" / "results" / "bench-files.json"
        result = json.loads(path.read_text())
        result["state"]["before"]["governor"] = None
        path.write_text(json.dumps(result))
        page = page_of(bundles / "r.html", bundles / "first")
        assert re.search(r"Clock governor</th><td[^>]*><span>not available</span></td>", page)

    def test_charts_are_embedded(self, page):
        titles = re.findall(r"<svg[^>]*><title>([^<]*)", page)
        assert {"Confusion matrix", "Latencies side by side"} <= set(titles)
        assert sum(title.startswith("Latencies: ") for title in titles) == 2
        assert sum(title.startswith("Mean time by stage") for title in titles) == 2

    def test_same_inputs_same_bytes(self, page, bundles):
        assert page_of(bundles / "again.html", bundles / "first") == page

    def test_sections_are_in_order(self, page):
        assert re.findall(r"<h2[^>]*>([^<]*)", page) == [
            "What it is for",
            "Whom it was tried on",
            "What it does with X-rays that it should not answer",
            "How often it is right",
            "Which answer to use for what",
            "Where it looks",
            "Examples",
            "Appendix for engineers",
            "Can these numbers be relied on?",
            "Summary",
            "Data",
            "Training",
            "FP32 against INT8",
            "Accuracy",
            "Latency and energy",
            "X-rays and predictions",
            "Provenance",
        ]

    def test_every_table_and_chart_is_present(self, page):
        titles = re.findall(r"<h3[^>]*>([^<]*)", page)
        for title in (
            "Operating thresholds",
            "Images by class and split",
            "Precisions in this bundle",
            "Quantization",
            "Confusion matrix",
            "ROC curves",
            "Reliability",
            "Metrics by class",
            "All benchmarks of this bundle",
            "Latencies side by side",
            "Time by stage",
            "Percentiles",
            "Verdict: not comparable with other results",
            "Circumstances",
            "Inputs (SHA-256)",
            "Files (SHA-256)",
            "Commands to reproduce it",
        ):
            assert title in titles, title

    def test_notice_is_shown_once(self, page):
        assert page.count(NOTICE) == 1

    def test_page_is_accessible(self, page):
        assert '<html lang="en">' in page
        assert page.count("<h1") == 1
        assert all('alt="Chest X-ray: true class' in tag for tag in re.findall("<img[^>]*>", page))
        assert all('role="img"' in tag for tag in re.findall("<svg[^>]*>", page))
        assert page.count("<svg") == len(re.findall("<svg[^>]*><title>[^<]+</title>", page))
        assert all("scope=" in tag for tag in re.findall("<th[ >][^>]*>?", page))

    def test_numbers_are_right_aligned_and_texts_left(self, page):
        (row,) = re.findall(
            r'<th scope="row" class="short">normal</th>(.*?recall.*?|.*?)</tr>', page
        )[:1]
        assert 'class="number short"' in row
        assert '<th scope="col" class="text">verdict' in page

    def test_large_images_are_scaled_down(self):
        import base64
        import io

        noise = np.random.default_rng(0).integers(0, 256, (600, 600), np.uint8)
        with Image.open(io.BytesIO(base64.b64decode(png(noise)))) as picture:
            assert picture.size == (192, 192)
            assert picture.mode == "L"
