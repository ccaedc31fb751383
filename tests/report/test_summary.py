"""The first pages of a report, and where they say that something was not measured."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cxredge.metrics.classification import wilson
from cxredge.metrics.controls import ControlKind
from cxredge.report import numbers, reported_bundle, summary
from cxredge.report.blocks import Facts, Missing, Sentences, Table
from cxredge.report.chapter import make_chapter
from cxredge.report.render import to_html, to_json, to_markdown
from cxredge.report.write import make_report
from cxredge.results.answered import several_sources
from tests.report.sample_bundles import CLASSES, page_of, words_of

OTHER = "other finding"


def controls(images: int, called: int, own: tuple[str, ...] = ()) -> ControlKind:
    """Return controls of which a number is called 'normal', and the others are refused."""
    counts = {name: called if name == "normal" else 0 for name in CLASSES}
    return ControlKind(
        images=images,
        sources={"source-1": images},
        own_classes=own,
        refused=images - called,
        refused_ci95=wilson(images - called, images),
        called=counts,
        called_ci95={name: wilson(number, images) for name, number in counts.items()},
        called_if_answered=counts,
    )


@pytest.fixture
def reported(bundles):
    (found,), _ = reported_bundle.read_bundles([bundles / "first"])
    return found


def with_evaluation(reported, **changes):
    result = replace(reported.evaluation, **changes)
    return replace(reported, evaluations=(result,))


def section(reported, title: str):
    chapter = make_chapter(reported, pictures=False)
    (found,) = (one for one in chapter.summary if one.title.startswith(title))
    return found


def texts(found) -> str:
    parts = []
    for block in found.blocks:
        if isinstance(block, Facts):
            parts += [f"{name}: {value}" for name, value in block.pairs]
        elif isinstance(block, Sentences):
            parts += block.lines
        elif isinstance(block, Table):
            parts += [block.title, *(" | ".join(row) for row in block.rows), block.note]
        elif isinstance(block, Missing):
            parts.append(f"{block.what}: {block.command}")
    return "\n".join(parts)


class TestControls:
    def test_a_network_that_tells_the_source_is_said_before_any_figure(self, reported):
        found = with_evaluation(reported, controls={OTHER: controls(88, 88, ("normal",))})
        sentence = (
            "Of 88 X-rays from normal's own source with other findings, 88 (96-100%) are called "
            "normal: this network tells the source, not the disease."
        )
        report = make_report([found], [], xrays=False)
        assert report.chapters[0].first[0] == report.chapters[0].warnings[0] == sentence
        page = words_of(to_html(report))
        assert page.index("tells the source") < page.index("The label is right for")
        assert page.index("tells the source") < page.index("Lowest sensitivity of a class")
        assert page.count("this network tells the source") == 2  # also as evidence of a question
        assert "do not show that it recognises the disease" in page
        assert page.count("controls get a class as well") == 2
        assert to_markdown(report).index("tells the source") < to_markdown(report).index("Accuracy")
        answers = {check.question: check.answer.value for check in report.chapters[0].checks}
        assert answers["Are the data free of known shortcuts?"] == "no"

    def test_controls_that_are_refused_contradict_nothing(self, reported):
        found = with_evaluation(reported, controls={OTHER: controls(88, 2)})
        page = words_of(to_html(make_report([found], [], xrays=False)))
        assert "Controls: 86 of 88 are refused" in page
        assert f"normal 2 (1{numbers._TO}8%)" in page
        assert "do not show that it recognises" not in page
        assert "controls get a class" not in page

    def test_controls_that_are_called_other_are_answered_rightly(self, reported):
        called = replace(controls(88, 80), called={"normal": 10, "other": 70})
        called = replace(called, called_ci95={n: wilson(k, 88) for n, k in called.called.items()})
        found = with_evaluation(reported, controls={OTHER: called})
        text = texts(section(found, "What it does"))
        assert "Controls: 8 of 88 are refused, 70 are called other" in text
        assert "to refuse them, or to call them other" in text
        assert "though none of the classes is right" not in text

    def test_a_class_for_other_findings_is_an_answer_to_them(self, reported):
        without = replace(reported, bundle=None)
        assert "for another finding or for several" in texts(section(without, "What it is for"))
        named = with_evaluation(without, classes=(*CLASSES, "other"))
        assert "It has no answer for several findings" in texts(summary._purpose(named))

    def test_without_controls_the_command_is_named(self, reported):
        text = texts(section(reported, "What it does"))
        assert "--controls OTHERS" in text
        assert "cxredge evaluate first DATA/manifest.csv" in text

    def test_controls_of_the_build_are_shown_without_an_evaluation(self, reported):
        facts = reported.bundle.card.facts
        gates = {
            name: replace(gate, controls={OTHER: controls(20, 20)})
            for name, gate in facts.gate.items()
        }
        facts = replace(facts, gate=gates, gate_by_runtime={})
        bundle = replace(reported.bundle, card=replace(reported.bundle.card, facts=facts))
        found = replace(reported, bundle=bundle, evaluations=())
        assert "Controls: 0 of 20 are refused" in texts(section(found, "What it does"))
        assert make_chapter(found, pictures=False).first[0].startswith("Of 20 X-rays")


class TestPeople:
    def test_sources_and_what_is_not_stated(self, reported):
        text = texts(section(reported, "Whom"))
        assert "36 X-rays of 18 patients (split 'test'), none of whom was trained on" in text
        assert "source-1: 12 X-rays of" in text
        assert "does not state sex, age and view" in text
        assert "Trained on: 36 X-rays of 18 patients, and 36 X-rays of 18 patients to" in text

    def test_results_of_an_earlier_version(self, reported):
        old = with_evaluation(
            reported, by={}, answered=None, coverage=None, border_evidence=(), seen=None,
            auroc_within_source=(), heatmaps_fp32=None,
        )  # fmt: skip
        command = "cxredge evaluate first MANIFEST --split test"
        for title, what in (
            ("Whom", "Sources, sex and age"),
            ("Which", "Coverage of the prediction sets"),
            ("Where", "Evidence of heatmaps"),
        ):
            assert f"{what}: {command}" in texts(section(old, title))

    def test_bundle_that_was_not_evaluated(self, bundles):
        (found,), _ = reported_bundle.read_bundles([bundles / "second"])
        for title in ("Whom", "How often", "Which", "Where"):
            assert "cxredge evaluate second MANIFEST" in texts(section(found, title))

    def test_bundle_without_familiarity_sets_and_heatmaps(self, reported):
        facts = replace(reported.bundle.card.facts, operating_points={}, map_grid=None)
        bundle = replace(reported.bundle, card=replace(reported.bundle.card, facts=facts))
        found = replace(reported, bundle=bundle)
        assert "refuses no X-ray" in texts(section(found, "What it does"))
        assert "build RUN --coverage 0.9" in texts(section(found, "Which"))
        assert "build RUN --heatmaps" in texts(section(found, "Where"))


class TestFigures:
    def test_by_class_and_by_source(self, reported):
        result = reported.evaluation
        text = texts(section(reported, "How often"))
        right = sum(row[i] for i, row in enumerate(result.confusion))
        assert f"The label is right for {numbers.part(right, 36)} test X-rays" in text
        for name, row in result.by_class.items():
            assert f"{name} | 12 | {numbers.percent(row.recall, row.recall_ci95)} | " in text
        group = result.by["source"]["source-1"]
        share = numbers.percent(group.accuracy, group.accuracy_ci95)
        assert f"source: source-1 | 12 of {group.patients} patients | {share}" in text
        for one in several_sources(result.called_by_source):
            counts = " | ".join(str(one.called[name]) for name in result.classes)
            assert f"{one.class_name} | {one.source} | {counts}" in text

    def test_answers_are_explained_with_their_rates(self, reported):
        result = reported.evaluation
        text = texts(section(reported, "Which"))
        for term in ("Label", "Operating threshold", "Prediction set", "Calibration error"):
            assert f"{term}: " in text
        for name, row in result.coverage.by_class.items():
            assert (
                f"{name} | {row.images} | {numbers.percent(row.coverage, row.coverage_ci95)}"
                in text
            )

    def test_json_holds_the_records(self, reported):
        kind = controls(88, 88, ("normal",))
        found = with_evaluation(reported, controls={OTHER: kind})
        value = json.loads(to_json(make_report([found], [], xrays=False)))
        (chapter,) = value["chapters"]
        assert chapter["evidence"]["controls"][OTHER]["called"]["normal"] == 88
        assert chapter["evidence"]["coverage"]["images"] == found.evaluation.coverage.images
        assert set(chapter["evidence"]["by"]["source"]) == {"source-0", "source-1", "source-2"}
        assert chapter["summary"][0]["title"] == "What it is for"
        rows = {(one["figure"], one["of"]): one["value"] for one in chapter["measurements"]}
        assert rows["control called normal", OTHER] == 1
        assert rows["set coverage", ""] == found.evaluation.coverage.coverage


def test_no_raw_keys(bundles):
    page = words_of(page_of(bundles / "r.html", bundles / "first", xrays=False))
    page = page[page.index("Research use only") :]
    for key in (
        "interval_s",
        "reading_ms_per_sample",
        "card_sha256",
        "float_stem",
        "gate.max",
        "max_",
    ):
        assert key not in page
