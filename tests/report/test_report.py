"""The report of real bundles: built, evaluated and benchmarked by the library itself."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from typer.testing import CliRunner

from cxredge import bench as bench_stage
from cxredge import evaluate as evaluate_stage
from cxredge import onnx_graph
from cxredge.artifacts import (
    Card,
    Classifier,
    Kind,
    read_card,
    sha256_of_file,
    write_card,
    write_json,
)
from cxredge.build import BuildConfig, build, plan
from cxredge.bundle import open_bundle
from cxredge.cli import app
from cxredge.cli.output import finite
from cxredge.data.images import PREPROCESSING
from cxredge.data.manifest import Entry, Manifest, write_manifest
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.progress import Silent
from cxredge.quantization.gate import GateLimits
from cxredge.report import numbers, sources, write_report
from cxredge.report.accuracy import file_name
from cxredge.report.checks import checks
from cxredge.report.render import markdown_text
from cxredge.report.xrays import png
from cxredge.targets.registry import target_of_this_machine
from cxredge.training.config import TrainConfig
from cxredge.vocabulary import Augmentation, Precision, PrecisionChoice, Scenario, Split

HOSTILE = "<script>alert(1)</script>"
CLASSES = (HOSTILE, "normal", "viral|*x*")
SIZE = 32
BRIGHTNESS = (60, 120, 180)
SECRET_FOLDER = "mueller-hans-1953"


def brightness_network(shift: float) -> onnx.ModelProto:
    """A classifier by mean brightness, nearest of three levels; ``shift`` moves the levels."""
    levels = np.array(BRIGHTNESS, np.float32) + shift
    weights = (2 * levels / 900)[None, :].astype(np.float32)
    biases = (-(levels**2) / 900).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["grey"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 1, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(CLASSES)])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(biases, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_model(folder: Path, shift: float, config: dict, facts: dict) -> Path:
    folder.mkdir()
    onnx.save(brightness_network(shift), folder / onnx_graph.FP32_NAME)
    classifier = Classifier("mobilenet_v1", CLASSES, SIZE, 0.5, 0.5, PREPROCESSING)
    write_card(folder, Card(Kind.MODEL, classifier, {}, config, facts))
    return folder


def write_images(folder: Path) -> Manifest:
    rng = np.random.default_rng(0)
    images = folder / SECRET_FOLDER
    images.mkdir(parents=True)
    entries = []
    for split in Split:
        for index in range(36):
            label = index % len(CLASSES)
            level = BRIGHTNESS[label] + rng.normal(0, 22)
            pixels = np.clip(rng.normal(level, 10, (SIZE, SIZE)), 0, 255).astype(np.uint8)
            path = images / f"{split.value}-{index}.png"
            Image.fromarray(pixels).save(path)
            patient = f"{split.value}-{index // 2}"
            # Each class has a source of its own, which must come up as a warning.
            entries.append(Entry(path, CLASSES[label], patient, f"source-{label}", "", split, ""))
    return write_manifest(folder / "manifest.csv", entries)


def build_bundle(folder: Path, manifest: Manifest, shift: float, name: str) -> Path:
    fp32 = write_model(folder / f"{name}-fp32", 0, {"precision": "fp32"}, {})
    steps = [{"step": "min-max ranges", "agreement": 0.9, "accuracy": 0.8, "logit_error": 0.05}]
    config = {"dialect": "cpu", "calibration_images": 24}
    config |= {"effort": "quick", "float_stem": False}
    facts = {"steps": steps, "agreement": 0.9, "size_bytes": 100, "size_bytes_fp32": 370}
    facts |= {"judged_on": "validation", "chosen": "min-max ranges", "in_float": []}
    facts["layers"] = [
        {
            "name": "first", "reads": "image", "snr_db": 31.5, "in_float": False,
            "clipped_to": [-2.0, 2.0], "measured": [-1.0, 3.0], "counts": [1, 20, 5, 1],
        },
        {
            "name": "second", "reads": "a", "snr_db": None, "in_float": True,
            "clipped_to": None, "measured": None, "counts": [],
        },
    ]  # fmt: skip
    int8 = write_model(folder / f"{name}-int8", shift, config, facts)
    write_manifest(int8 / "calibration.csv", manifest.of(Split.TRAIN))
    (int8 / "ranges.json").write_text('{"a": [0.0, 6.0]}')
    settings = BuildConfig(
        target_of_this_machine(), PrecisionChoice.INT8, GateLimits(1, 0, 1, 1, 1), Split.TEST
    )
    config = TrainConfig(
        network="mobilenet_v1", weights="none", freeze="none", epochs=9, patience=4, batch_size=8,
        learning_rate=1e-3, backbone_rate=1.0, weight_decay=0.05, label_smoothing=0.1,
        dropout=0.0,
        average_decay=0.9, augmentation=Augmentation.NONE, balance=True, seed=0, input_size=SIZE,
        mean=0.5, std=0.5,
    )  # fmt: skip
    training = {**asdict(config), "augmentation": "none", "best_epoch": 7, "trainable": 3_206_976}
    training["validation_accuracy"] = 0.75
    out = folder / name
    planned = plan(read_card(fp32), {"source": "0" * 64}, settings)
    folders = {Precision.FP32: fp32, Precision.INT8: int8}
    build(folders, manifest, planned, settings, {"training": training}, out, Silent())
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two bundles; the first evaluated and benchmarked, the second as it was built."""
    folder = tmp_path_factory.mktemp("made")
    manifest = write_images(folder / "data")
    first = build_bundle(folder, manifest, 12, "first")
    build_bundle(folder, manifest, 25, "second")
    opened = open_bundle(first)
    evaluation = finite(evaluate_stage.evaluate(opened, manifest, Split.TEST, Silent()))
    write_json(first / "results" / "evaluate-test-int8.json", evaluation)
    config = bench_stage.BenchConfig(Scenario.SINGLE_STREAM, 0.0, 40, 2, 1)
    for name, images in (("memory", []), ("files", [folder / "data"])):
        result = bench_stage.bench(opened, images, config, Silent())
        write_json(first / "results" / f"bench-{name}.json", result)
    return folder


@pytest.fixture
def bundles(made, tmp_path):
    for name in ("first", "second"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


def result_of(bundle: Path, name: str) -> dict:
    return json.loads((bundle / "results" / name).read_text())


def words_of(page: str) -> str:
    """Return a page's text without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))


def page_of(out: Path, *paths: Path, xrays: bool = True) -> str:
    write_report(paths, out, xrays)
    return out.read_text(encoding="utf-8")


def test_result_schemas_are_those_of_the_stages():
    assert evaluate_stage.SCHEMA == sources.EVALUATION
    assert bench_stage.SCHEMA == sources.BENCH


class TestHtml:
    @pytest.fixture
    def page(self, bundles):
        return page_of(bundles / "r.html", bundles / "first")

    def test_fetches_nothing_and_runs_nothing(self, page):
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

    def test_class_names_are_text_not_markup(self, page):
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page

    def test_numbers_stand_with_their_intervals(self, page, bundles):
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
        for percentile in ("p50", "p90", "p99"):
            shown = numbers.milliseconds(latency[percentile], latency[f"{percentile}_ci95"])
            assert shown in page

    def test_headline_is_the_latency_from_files(self, page, bundles):
        latency = result_of(bundles / "first", "bench-files.json")["latency_ms"]
        assert f'<div class="number">{numbers.milliseconds(latency["p50"])}</div>' in page

    def test_notice_and_warnings_come_before_the_numbers(self, page):
        notice = page.index(onnx_graph.NOTICE)
        confounded = page.index("Classes come from different sources")
        doubted = page.index("a 99th percentile needs 1000")
        assert notice < confounded < doubted < page.index('<div class="headline">')

    def test_warnings_said_twice_are_shown_once(self, page):
        assert page.count("Classes come from different sources") == 1

    def test_flipped_decisions_name_files_and_no_folders(self, page, bundles):
        flipped = result_of(bundles / "first", "evaluate-test-int8.json")["flipped"]
        assert flipped
        assert Path(flipped[0]["path"]).name in page
        assert SECRET_FOLDER in flipped[0]["path"]
        assert SECRET_FOLDER not in page

    def test_no_path_of_this_machine(self, page, bundles):
        assert str(bundles) not in page

    def test_wrong_predictions_are_marked(self, page, bundles):
        bundle = open_bundle(bundles / "first")
        with np.load(bundles / "first" / "golden.npz") as golden:
            wrong = golden["logits_int8"].argmax(1) != golden["labels"]
            kept = len(np.load(bundles / "first" / "flipped.npz")["indices"])
            assert page.count("data:image/png;base64,") == len(wrong) + kept
        assert wrong.any()
        assert page.count('class="xray wrong"') == wrong.sum()
        assert bundle.precision.value == "int8"

    def test_flipped_xrays_stand_with_both_decisions(self, page, bundles):
        gate = read_card(bundles / "first").facts["gate"]["int8"]
        assert gate["flipped"]
        assert page.count('class="xray flip') == len(gate["flipped"])
        flip = gate["flipped"][0]
        assert f"{flip['fp32']} {numbers.share(flip['probability_fp32'])}</div>" in page
        assert f"{flip['now']} {numbers.share(flip['probability_now'])}</div>" in page
        with np.load(bundles / "first" / "flipped.npz") as kept:
            assert flip["index"] in kept["indices"]
            assert png(kept["pixels"][0]) in page

    def test_gate_is_shown_with_limits_verdicts_and_drift(self, page, bundles):
        gate = read_card(bundles / "first").facts["gate"]["int8"]
        assert "Gate: INT8 passed" in page
        for check in gate["checks"]:
            assert check["verdict"] in page
            assert check["limit_text"] in page
        for row in gate["thresholds"]:
            assert numbers.signed(row["drift"]) in page
            assert numbers.share(row["sensitivity_kept"]) in page

    def test_what_the_gate_could_not_judge_is_a_warning(self, page, bundles):
        cautions = read_card(bundles / "first").facts["gate"]["int8"]["cautions"]
        written = write_report([bundles / "first"], bundles / "again.html")
        assert set(cautions) <= set(written.warnings)

    def test_xrays_can_be_left_out(self, bundles):
        page = page_of(bundles / "r.html", bundles / "first", xrays=False)
        assert "data:image" not in page
        assert "predicted: <b>" in page

    def test_what_the_machine_hides_is_not_available(self, bundles):
        path = bundles / "first" / "results" / "bench-files.json"
        result = json.loads(path.read_text())
        result["state"]["before"]["governor"] = None
        path.write_text(json.dumps(result))
        page = page_of(bundles / "r.html", bundles / "first")
        assert re.search(r"Clock governor</th><td[^>]*>not available</td>", page)

    def test_pictures_are_inside(self, page):
        titles = re.findall(r"<svg[^>]*><title>([^<]*)", page)
        assert {"Confusion matrix", "Latencies side by side"} <= set(titles)
        assert sum(title.startswith("Latencies: ") for title in titles) == 2
        assert sum(title.startswith("Mean time by stage") for title in titles) == 2

    def test_same_inputs_same_bytes(self, page, bundles):
        assert page_of(bundles / "again.html", bundles / "first") == page

    def test_every_section_is_there_in_its_order(self, page):
        assert re.findall(r"<h2[^>]*>([^<]*)", page) == [
            "Can these numbers be relied on?",
            "What it is",
            "Data",
            "Training",
            "FP32 against INT8",
            "Accuracy",
            "Latency and energy",
            "X-rays and predictions",
            "Provenance",
        ]

    def test_every_table_and_picture_is_there(self, page):
        titles = re.findall(r"<h3[^>]*>([^<]*)", page)
        for title in (
            "Operating thresholds",
            "Images by class and split",
            "Precisions in this bundle",
            "Quantization",
            "Confusion matrix",
            "ROC curves",
            "Reliability",
            "Each class",
            "All benchmarks of this bundle",
            "Latencies side by side",
            "Where the time goes",
            "Percentiles",
            "Verdict: not comparable with other results",
            "Circumstances",
            "Made from (SHA-256)",
            "Files (SHA-256)",
            "Make it again",
        ):
            assert title in titles, title

    def test_notice_stands_once(self, page):
        assert page.count(onnx_graph.NOTICE) == 1

    def test_can_be_read_aloud(self, page):
        assert '<html lang="en">' in page
        assert page.count("<h1") == 1
        assert all('alt="Chest X-ray: true class' in tag for tag in re.findall("<img[^>]*>", page))
        assert all('role="img"' in tag for tag in re.findall("<svg[^>]*>", page))
        assert page.count("<svg") == len(re.findall("<svg[^>]*><title>[^<]+</title>", page))
        assert all("scope=" in tag for tag in re.findall("<th[ >][^>]*>?", page))

    def test_numbers_are_set_to_the_right_and_words_to_the_left(self, page):
        (row,) = re.findall(
            r'<th scope="row" class="short">normal</th>(.*?recall.*?|.*?)</tr>', page
        )[:1]
        assert 'class="number short"' in row
        assert '<th scope="col" class="text">verdict' in page

    def test_wide_pictures_are_made_small(self):
        import base64
        import io

        noise = np.random.default_rng(0).integers(0, 256, (600, 600), np.uint8)
        with Image.open(io.BytesIO(base64.b64decode(png(noise)))) as picture:
            assert picture.size == (192, 192)
            assert picture.mode == "L"


class TestChecks:
    def answers(self, bundles, name: str) -> list[tuple[str, str]]:
        out = bundles / "r.json"
        write_report([bundles / name], out)
        (chapter,) = json.loads(out.read_text())["chapters"]
        return [(check["question"], check["answer"]) for check in chapter["checks"]]

    def test_of_a_bundle_with_results(self, bundles):
        assert self.answers(bundles, "first") == [
            ("Are these the files that were built?", "yes"),
            ("Was it finished on the device?", "yes"),
            ("Does INT8 decide as FP32?", "yes"),
            ("Was it evaluated on images it never saw?", "yes"),
            ("Are the data free of known shortcuts?", "no"),
            ("Can the latency be compared with others?", "no"),
        ]

    @pytest.mark.parametrize(
        ("verdicts", "passed", "answer"),
        [
            (["held", "held"], True, "yes"),
            (["held", "too few"], True, "doubtful"),
            (["held", "unclear"], True, "doubtful"),
            (["held", "refused"], False, "no"),
        ],
    )
    def test_of_the_gate(self, bundles, monkeypatch, verdicts, passed, answer):
        rows = [{"verdict": verdict, "limit_text": "may drop by 0.01"} for verdict in verdicts]
        rows.append({"verdict": "no limit", "limit_text": ""})
        gate = {"checks": rows, "images": 9, "passed": passed, "cautions": []}
        monkeypatch.setattr("cxredge.report.checks.gate_of", lambda source: gate)
        (source,), _ = sources.read_sources([bundles / "first"])
        check = checks(source)[2]
        assert check.answer.value == answer
        assert check.evidence.startswith(f"{verdicts.count('held')} of 2 measures held")

    def test_of_a_bundle_without(self, bundles):
        (bundles / "second" / "passport.json").unlink()
        found = dict(self.answers(bundles, "second"))
        assert found["Was it finished on the device?"] == "no"
        assert found["Was it evaluated on images it never saw?"] == "not known"
        assert found["Can the latency be compared with others?"] == "not known"

    def test_validation_images_are_not_unseen(self, bundles):
        path = bundles / "first" / "results" / "evaluate-test-int8.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "split": "val"}))
        assert dict(self.answers(bundles, "first"))["Was it evaluated on images it never saw?"] == (
            "no"
        )

    def test_comparable_latency(self, bundles):
        for path in (bundles / "first" / "results").glob("bench-*.json"):
            good = {"comparable": True, "reasons": []}
            path.write_text(json.dumps({**json.loads(path.read_text()), "verdict": good}))
        assert dict(self.answers(bundles, "first"))["Can the latency be compared with others?"] == (
            "yes"
        )
        assert "not comparable" not in page_of(bundles / "r.html", bundles / "first")


class TestSeveralDevices:
    @pytest.fixture
    def board(self, bundles):
        """The same bundle's result from a board with a power reading."""
        result = result_of(bundles / "first", "bench-files.json")
        result["machine"] = {**result["machine"], "cpu": None, "cores": 6}
        result |= {"jetson": {"before": {}, "after": {}}, "target": "jetson-orin-nano"}
        energy = {"source": "power rails", "mean_watts": 7.5, "joules_per_image": 0.0421}
        result |= {"energy": energy, "precision": "fp16"}
        result["verdict"] = {"comparable": True, "reasons": []}
        path = bundles / "board.json"
        path.write_text(json.dumps(result))
        return path

    def test_machines_are_told_apart_in_table_and_picture(self, bundles, board):
        page = page_of(bundles / "r.html", bundles / "first", board)
        table = page[page.index("All benchmarks of this bundle") :]
        table = table[: table.index("</table>")]
        assert "FP16, jetson-orin-nano" in table
        assert "42.1 mJ" in table
        assert "not available" in table
        picture = page[page.index("<title>Latencies side by side") :]
        assert "jetson-orin-nano" in picture[: picture.index("</svg>")]
        assert page.count("<h3>Machine: ") == 2

    def test_circumstances_stand_side_by_side(self, bundles, board):
        text = page_of(bundles / "r.md", bundles / "first", board)
        (line,) = (line for line in text.splitlines() if line.startswith("| Cold start: loading"))
        assert line.count(" ms |") == 3
        (line,) = (line for line in text.splitlines() if line.startswith("| Power"))
        assert "7.50 W by power rails" in line
        assert line.count("not available") == 2

    def test_one_warning_for_all_doubtful_benchmarks(self, bundles, board):
        written = write_report([bundles / "first", board], bundles / "r.html")
        (warning,) = (w for w in written.warnings if "benchmarks cannot be compared" in w)
        assert warning.startswith("2 of 3 benchmarks")
        assert "a 99th percentile needs 1000" in warning


class TestMissing:
    def test_says_which_command_measures_it(self, bundles):
        page = page_of(bundles / "r.html", bundles / "second")
        assert "cxredge evaluate second MANIFEST" in page
        assert "cxredge bench second" in page
        # Lowest sensitivity, two latencies, throughput, energy.
        assert page.count('<div class="unmeasured">not measured</div>') == 5

    def test_accuracy_falls_back_on_the_gate(self, bundles):
        gate = json.loads((bundles / "second" / "card.json").read_text())["facts"]["gate"]["int8"]
        page = page_of(bundles / "r.html", bundles / "second")
        assert f'<div class="number">{numbers.share(gate["accuracy"])}</div>' in page
        assert "at build: 36 images" in page

    def test_bundle_that_was_not_finished_on_its_target(self, bundles):
        (bundles / "second" / "passport.json").unlink()
        page = page_of(bundles / "r.html", bundles / "second")
        assert "Not finished on its target" in page
        assert "run: cxredge build second" in page

    def test_undefined_figures(self, bundles):
        path = bundles / "first" / "results" / "evaluate-test-int8.json"
        result = json.loads(path.read_text())
        row = result["by_class"]["normal"]
        row.update(auroc=None, auroc_ci95=[None, None], sensitivity=None, sensitivity_ci95=None)
        path.write_text(json.dumps(result))
        assert "not available" in page_of(bundles / "r.md", bundles / "first")


class TestWhatIsTaken:
    def test_results_of_another_bundle_are_left_out_with_a_note(self, bundles):
        shutil.copytree(bundles / "first" / "results", bundles / "second" / "results")
        out = bundles / "r.html"
        written = write_report([bundles / "second"], out)
        assert written.results == 0
        assert len(written.notes) == 3
        assert "results/bench-files.json was measured on another bundle" in out.read_text()

    def test_result_of_another_bundle_given_beside_it_is_set_apart_with_a_note(self, bundles):
        stray = bundles / "first" / "results" / "bench-files.json"
        written = write_report([bundles / "second", stray], bundles / "r.json")
        (note,) = written.notes
        assert "bench-files.json was measured on another bundle" in note
        chapters = json.loads((bundles / "r.json").read_text())["chapters"]
        assert chapters[0]["card"] == sha256_of_file(bundles / "second" / "card.json")
        assert chapters[1]["card"] == sha256_of_file(bundles / "first" / "card.json")
        (latency,) = (h for h in chapters[0]["headlines"] if h["label"] == "Latency, median")
        assert latency["value"] is None

    def test_files_that_are_no_results_are_left_out_with_a_note(self, bundles):
        (bundles / "first" / "results" / "other.json").write_text("{}")
        written = write_report([bundles / "first"], bundles / "r.html")
        assert written.results == 3
        assert "other.json" in written.notes[0]

    def test_result_given_beside_its_bundle_joins_it(self, bundles):
        moved = bundles / "elsewhere.json"
        (bundles / "first" / "results" / "bench-files.json").rename(moved)
        out = bundles / "r.json"
        written = write_report([bundles / "first", moved], out)
        assert (written.bundles, written.results) == (1, 3)
        assert len(json.loads(out.read_text())["chapters"]) == 1

    def test_paths_given_twice_count_once(self, bundles):
        first = bundles / "first"
        paths = [first, first, first / "results" / "bench-files.json"]
        written = write_report(paths, bundles / "r.html")
        assert (written.bundles, written.results) == (1, 3)

    def test_result_without_its_bundle(self, bundles):
        shutil.copy(bundles / "first" / "results" / "evaluate-test-int8.json", bundles / "e.json")
        page = page_of(bundles / "r.html", bundles / "e.json")
        assert "Only results were given" in page
        assert "Confusion matrix" in page

    def test_result_that_two_copies_could_own_goes_to_neither(self, bundles):
        shutil.copytree(bundles / "first", bundles / "copy")
        moved = bundles / "r1.json"
        (bundles / "first" / "results" / "bench-files.json").rename(moved)
        out = bundles / "r.json"
        write_report([bundles / "first", bundles / "copy", moved], out)
        names = [chapter["name"] for chapter in json.loads(out.read_text())["chapters"]]
        assert names[:2] == ["first", "copy"]
        assert names[2].startswith("card ")


class TestSeveralBundles:
    def test_comparison_comes_first(self, bundles):
        page = page_of(bundles / "r.html", bundles / "first", bundles / "second")
        table = page[page.index("Side by side") : page.index("</table>")]
        assert "first" in table
        assert "second" in table
        assert page.index("Side by side") < page.index('<article class="chapter">')
        assert page.count('<article class="chapter">') == 2

    def test_says_what_cannot_be_compared(self, bundles):
        page = page_of(bundles / "r.html", bundles / "first", bundles / "second")
        assert "Not all were evaluated" in page
        copy = shutil.copytree(bundles / "first", bundles / "copy")
        path = copy / "results" / "evaluate-test-int8.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "manifest_sha256": "0" * 64}))
        page = page_of(bundles / "r.html", bundles / "first", copy)
        assert "Evaluated on different images" in page

    def test_bundles_of_one_name_are_told_apart(self, bundles):
        other = shutil.copytree(bundles / "second", bundles / "deep" / "first")
        page = page_of(bundles / "r.html", bundles / "first", other)
        assert "first (1)" in page
        assert "first (2)" in page


class TestOtherFormats:
    def test_markdown_has_the_numbers_and_no_markup_of_others(self, bundles):
        text = page_of(bundles / "r.md", bundles / "first")
        found = result_of(bundles / "first", "evaluate-test-int8.json")
        assert numbers.share(found["accuracy"], found["accuracy_ci95"]) in text
        assert onnx_graph.NOTICE in text
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

    def test_csv_has_every_figure_with_its_interval(self, bundles):
        rows = list(csv.DictReader(page_of(bundles / "r.csv", bundles / "first").splitlines()))
        found = result_of(bundles / "first", "evaluate-test-int8.json")
        (accuracy,) = (r for r in rows if r["figure"] == "accuracy")
        assert float(accuracy["value"]) == found["accuracy"]
        assert float(accuracy["ci95_low"]) == found["accuracy_ci95"][0]
        assert "split test" in accuracy["measured"]
        latency = result_of(bundles / "first", "bench-files.json")["latency_ms"]
        p99 = [r for r in rows if (r["figure"], r["of"]) == ("latency p99", "")]
        assert latency["p99"] in [float(r["value"]) for r in p99]
        assert all("a 99th percentile needs 1000" in r["verdict"] for r in p99)
        assert {r["of"] for r in rows if r["figure"] == "sensitivity"} == set(CLASSES)

    def test_csv_leaves_empty_what_was_not_measured(self, bundles):
        rows = list(csv.DictReader(page_of(bundles / "r.csv", bundles / "second").splitlines()))
        unmeasured = [r for r in rows if r["measured"] == "not measured"]
        assert {r["figure"] for r in unmeasured} >= {"accuracy", "latency p50", "energy an image"}
        assert {r["value"] for r in unmeasured} == {""}

    def test_csv_holds_no_formula(self, bundles):
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

    def test_file_names_that_are_not_utf8_do_not_stop_it(self, bundles):
        path = bundles / "first" / "results" / "evaluate-test-int8.json"
        result = json.loads(path.read_text())
        result["flipped"][0]["path"] = "/x/caf\udce9.png"
        path.write_text(json.dumps(result))
        for suffix in (".html", ".md", ".json"):
            assert "caf?.png" in page_of(bundles / f"r{suffix}", bundles / "first")


class TestRefusals:
    @pytest.mark.parametrize("name", ["r.pdf", "r", "html"])
    def test_unknown_extension(self, bundles, name):
        with pytest.raises(CxredgeError, match=r"\.html, \.md, \.csv, \.json"):
            write_report([bundles / "first"], bundles / name)
        assert not (bundles / name).exists()

    def test_paths_that_are_neither_bundle_nor_result(self, bundles):
        (bundles / "x.json").write_text('{"schema": "cxredge.card/1"}')
        (bundles / "x.txt").write_text("text")
        (bundles / "folder").mkdir()
        for name in ("x.json", "x.txt", "folder", "nowhere"):
            with pytest.raises(ArtifactError, match=name) as caught:
                write_report([bundles / "first", bundles / name], bundles / "r.html")
            assert caught.value.hint
            assert not (bundles / "r.html").exists()

    def test_result_that_is_cut_short(self, bundles):
        result = result_of(bundles / "first", "bench-files.json")
        (bundles / "b.json").write_text(json.dumps({k: result[k] for k in list(result)[:6]}))
        with pytest.raises(ArtifactError, match="lacks"):
            write_report([bundles / "b.json"], bundles / "r.html")
        del result["state"]
        (bundles / "b.json").write_text(json.dumps(result))
        with pytest.raises(ArtifactError, match="state"):
            write_report([bundles / "b.json"], bundles / "r.html")
        not_finite = json.dumps({**result_of(bundles / "first", "bench-files.json")})
        not_finite = re.sub(r'"throughput": [0-9.]+', '"throughput": NaN', not_finite)
        (bundles / "b.json").write_text(not_finite)
        with pytest.raises(ArtifactError, match="ValueError"):
            write_report([bundles / "b.json"], bundles / "r.json")
        assert not list(bundles.glob("r.*"))

    def test_damaged_bundle(self, bundles):
        with (bundles / "first" / "model-int8.onnx").open("ab") as stream:
            stream.write(b"x")
        with pytest.raises(ArtifactError, match="damaged"):
            write_report([bundles / "first"], bundles / "r.html")

    def test_never_replaces_a_measurement_or_a_card(self, bundles):
        for path in (
            bundles / "first" / "results" / "bench-files.json",
            bundles / "first" / "card.json",
            bundles / "first" / "calibration.csv",
        ):
            before = sha256_of_file(path)
            with pytest.raises(CxredgeError, match="not replaced"):
                write_report([bundles / "first"], path)
            assert sha256_of_file(path) == before

    def test_replaces_its_own_report(self, bundles):
        for name in ("r.json", "r.csv"):
            write_report([bundles / "second"], bundles / name)
            assert "first" in page_of(bundles / name, bundles / "first")


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

    def test_failure_is_a_sentence_and_exit_1(self, bundles):
        ran = CliRunner().invoke(
            app, ["report", str(bundles / "none"), "--out", str(bundles / "r.html")]
        )
        assert ran.exit_code == 1
        assert "does not exist" in ran.output
        assert "Traceback" not in ran.output


class TestNumbers:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (0, "0"),
            (0.01234, "0.0123"),
            (0.000001, "0.0000"),
            (1.8249, "1.82"),
            (12.345, "12.3"),
            (123.45, "123"),
            (1234.5, "1,234"),
            (None, "not available"),
        ],
    )
    def test_three_significant_digits(self, value, text):
        assert numbers.significant(value) == text

    def test_intervals(self):
        assert numbers.share(0.5, [0.25, 0.75]) == "50.0% (25.0\N{EN DASH}75.0)"
        assert numbers.share(0.5, [None, None]) == "50.0%"
        assert numbers.share(None, None) == "not available"
        assert (
            numbers.points(-0.01, [-0.02, 0.0])
            == "\N{MINUS SIGN}1.0 points (\N{MINUS SIGN}2.0 to 0.0)"
        )


def test_file_name_of_either_system():
    assert file_name("/a/b/c.png") == "c.png"
    assert file_name("C:\\a\\c.png") == "c.png"


def test_markdown_text_has_no_syntax():
    assert (
        markdown_text("a|b\n<i> [x](y) &lt; mobilenet_v1")
        == r"a\|b \<i\> \[x\](y) &amp;lt; mobilenet_v1"
    )
