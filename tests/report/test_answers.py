"""Answers of a report of real bundles, and metrics that were not measured."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cxredge.artifacts.card import read_card, write_card
from cxredge.artifacts.records import UNSET, from_json
from cxredge.artifacts.training_images import TRAINING_IMAGES_NAME
from cxredge.bundle.card import BundleCard
from cxredge.gate.fidelity import Measure
from cxredge.gate.gate import GateResult
from cxredge.gate.limits import LimitCheck, LimitVerdict
from cxredge.gate.thresholds import Drift
from cxredge.report import numbers, reported_bundle, write_report
from cxredge.report.about import data_section, purpose_section
from cxredge.report.gate import gate_blocks
from cxredge.report.headlines import gate_of
from cxredge.report.trust import trust_questions
from cxredge.results.evaluation import Evaluation
from cxredge.vocabulary import Precision, Split
from tests.report.sample_bundles import change_result, page_of


def test_target_is_named_with_its_runtime(bundles):
    (source,), _ = reported_bundle.read_bundles([bundles / "first"])
    for bundle, runtime in (
        (replace(source.bundle, backend="openvino"), "openvino"),
        (replace(source.bundle, passport=None, backend="openvino"), "onnxruntime"),
    ):
        facts = purpose_section(replace(source, bundle=bundle)).blocks[0]
        assert dict(facts.pairs)["Target"] == f"cpu-x86 through {runtime}"


def test_the_gate_is_that_of_the_runtime_that_serves(bundles):
    (source,), _ = reported_bundle.read_bundles([bundles / "first"])
    facts, name = source.bundle.card.facts, Precision.INT8
    gate = facts.gate[name]
    agrees = next(check for check in gate.checks if check.measure is Measure.AGREEMENT)
    unclear = replace(agrees, candidate=0.25, verdict=LimitVerdict.UNCLEAR)
    checks = tuple(unclear if check is agrees else check for check in gate.checks)
    served = {**facts.gate, name: replace(gate, checks=checks)}
    by_runtime = {"onnxruntime": facts.gate, "openvino": served}
    card = replace(source.bundle.card, facts=replace(facts, gate_by_runtime=by_runtime))
    for backend, words, answer in (
        ("openvino", "in OpenVINO", "doubtful"),
        ("onnxruntime", "in ONNX Runtime", "yes"),
    ):
        bundle = replace(source.bundle, card=card, backend=backend)
        check = trust_questions(replace(source, bundle=bundle))[2]
        assert (check.answer.value, words in check.evidence) == (answer, True)
        table = gate_blocks(bundle, pictures=False)[0]
        assert words in table.title
        assert any("25.0%" in row for row in table.rows) is (backend == "openvino")
        assert gate_of(replace(source, bundle=bundle)) is by_runtime[backend][name]


def test_unknown_patients_are_counted_with_the_data(bundles):
    (source,), _ = reported_bundle.read_bundles([bundles / "first"])
    for unknown in (True, False):
        facts = replace(
            source.bundle.card.facts, images_without_patient={Split.TRAIN: 3} if unknown else UNSET
        )
        bundle = replace(source.bundle, card=replace(source.bundle.card, facts=facts))
        result = replace(source.evaluations[0], images_without_patient=2 if unknown else None)
        text = str(data_section(replace(source, bundle=bundle, evaluations=(result,))))
        assert ("counts as one of its own: train 3." in text) is unknown
        assert ("Of 2 images the patient is not known" in text) is unknown


class TestTrustQuestions:
    def answers(self, bundles, name: str) -> list[tuple[str, str]]:
        out = bundles / "r.json"
        write_report([bundles / name], out)
        (chapter,) = json.loads(out.read_text())["chapters"]
        return [(check["question"], check["answer"]) for check in chapter["checks"]]

    def test_bundle_with_results(self, bundles):
        assert self.answers(bundles, "first") == [
            ("Are the files unchanged since the build?", "yes"),
            ("Was the bundle finished on the device?", "yes"),
            ("Does INT8 agree with FP32?", "yes"),
            ("Was it evaluated on unseen images?", "yes"),
            ("Are the data free of known shortcuts?", "no"),
            ("Can the latency be compared with other results?", "no"),
        ]

    @pytest.mark.parametrize(
        ("verdicts", "answer"),
        [
            (["held", "held"], "yes"),
            (["held", "too few"], "doubtful"),
            (["held", "unclear"], "doubtful"),
            (["held", "refused"], "no"),
        ],
    )
    def test_verdicts_of_the_gate(self, bundles, monkeypatch, verdicts, answer):
        found = ("normal", 9, 0.9, 0.9, 0.0, (0.0, 0.0))
        checks = [LimitCheck(Measure.AUROC, *found, 0.01, LimitVerdict(v)) for v in verdicts]
        checks.append(LimitCheck(Measure.LOGIT_ERROR, *found, None, LimitVerdict.NO_LIMIT))
        thresholds = (Drift("normal", 0.5, 0.5, 0.0, *[None] * 6),)
        gate = GateResult(tuple(checks), 9, 9, (0.9, 1.0), thresholds, ())
        monkeypatch.setattr("cxredge.report.trust.gate_of", lambda source: gate)
        (source,), _ = reported_bundle.read_bundles([bundles / "first"])
        check = trust_questions(source)[2]
        assert check.answer.value == answer
        assert check.evidence.startswith(f"{verdicts.count('held')} of 2 metrics are within")

    def test_bundle_without_results(self, bundles):
        (bundles / "second" / "passport.json").unlink()
        found = dict(self.answers(bundles, "second"))
        assert found["Was the bundle finished on the device?"] == "no"
        assert found["Was it evaluated on unseen images?"] == "not known"
        assert found["Can the latency be compared with other results?"] == "not known"

    @pytest.mark.parametrize(
        ("seen", "answer", "words"),
        [
            (None, "not known", "does not list the images that it was trained on"),
            ({"images": 3}, "no", "3 of the images were trained on"),
            ({"validation_images": 2}, "no", "and 2 chose the epoch"),
            ({"patients": 4}, "doubtful", "and images of 4 of the patients"),
            ({"patients": None}, "doubtful", "patients were not compared"),
            ({"images": 1, "patients": None}, "no", "1 of the images"),
            ({"training_images_without_patient": 5}, "doubtful", "5 images of training and"),
        ],
    )
    def test_images_that_were_trained_on(self, bundles, seen, answer, words):
        path = bundles / "first" / "results" / "evaluate-test-int8.json"
        result = json.loads(path.read_text())
        assert (result["seen"]["images"], result["seen"]["patients"]) == (0, 0)
        changed = None if seen is None else {**result["seen"], **seen}
        change_result(path, seen=changed)
        (source,), _ = reported_bundle.read_bundles([bundles / "first"])
        check = trust_questions(source)[3]
        assert check.answer.value == answer
        assert words in check.evidence

    def test_counts_are_not_believed_without_the_list_of_the_bundle(self, bundles):
        (source,), _ = reported_bundle.read_bundles([bundles / "first"])
        files = {n: h for n, h in source.bundle.card.files.items() if n != TRAINING_IMAGES_NAME}
        bundle = replace(source.bundle, card=replace(source.bundle.card, files=files))
        check = trust_questions(replace(source, bundle=bundle))[3]
        assert check.answer.value == "not known"
        assert "does not list the images" in check.evidence

    def test_validation_images_are_not_unseen(self, bundles):
        path = bundles / "first" / "results" / "evaluate-test-int8.json"
        result = json.loads(path.read_text())
        for seen in (None, {**result["seen"], "validation_images": result["images"]}):
            change_result(path, split="val", seen=seen)
            found = dict(self.answers(bundles, "first"))
            assert found["Was it evaluated on unseen images?"] == "no"

    def test_comparable_latency(self, bundles):
        for path in (bundles / "first" / "results").glob("bench-*.json"):
            counts = {**json.loads(path.read_text())["queries"], "needed": 40}
            change_result(path, verdict={"comparable": True, "reasons": []}, queries=counts)
        assert dict(self.answers(bundles, "first"))[
            "Can the latency be compared with other results?"
        ] == ("yes")
        assert "not comparable" not in page_of(bundles / "r.html", bundles / "first")


class TestMissingMeasurements:
    def test_command_is_named(self, bundles):
        page = page_of(bundles / "r.html", bundles / "second")
        assert "cxredge evaluate second MANIFEST" in page
        assert "cxredge bench second" in page
        # Lowest sensitivity, two latencies, throughput, energy.
        assert page.count('<div class="unmeasured">not measured</div>') == 5

    def test_accuracy_falls_back_to_the_gate(self, bundles):
        gate = json.loads((bundles / "second" / "card.json").read_text())["facts"]["gate"]["int8"]
        page = page_of(bundles / "r.html", bundles / "second")
        assert f'<div class="number">{numbers.share(gate["accuracy"])}</div>' in page
        assert "at build: 36 images" in page

    def test_accuracy_at_build_includes_the_cascade(self, bundles):
        card = read_card(bundles / "second", BundleCard)
        gate = card.facts.gate[Precision.INT8]
        # Of 36 images, one is decided differently when FP32 decides nine near ties.
        near_ties = replace(gate.near_ties, accuracy=0.321, flipped=1, near=9)
        gate = replace(gate, near_ties=near_ties, cascade=True)
        gates = {**card.facts.gate, Precision.INT8: gate}
        facts = replace(
            card.facts,
            precision=Precision.INT8,
            gate=gates,
            gate_by_runtime={"onnxruntime": gates},
        )
        (bundles / "second" / "passport.json").unlink()
        write_card(bundles / "second", replace(card, facts=facts))
        page = page_of(bundles / "r.html", bundles / "second")
        assert '<div class="number">32.1%</div>' in page
        assert '<div class="number">97.2%</div>' in page
        assert "FP32 decided 25.0% of them, the near ties" in page

    def test_bundle_not_finished_on_its_target(self, bundles):
        (bundles / "second" / "passport.json").unlink()
        page = page_of(bundles / "r.html", bundles / "second")
        assert "Not finished on its target" in page
        assert "run: cxredge deploy second" in page

    def test_undefined_metrics(self, bundles, monkeypatch):
        path = bundles / "first" / "results" / "evaluate-test-int8.json"
        result = json.loads(path.read_text())
        row = result["by_class"]["normal"]
        row.update(auroc=None, auroc_ci95=[None, None], sensitivity=None, sensitivity_ci95=None)
        del result["roc"]["normal"]
        (source,), _ = reported_bundle.read_bundles([bundles / "first"])
        found = from_json(result, Evaluation, path, "")
        monkeypatch.setattr(
            "cxredge.report.write.read_bundles",
            lambda _: ([replace(source, evaluations=(found,))], []),
        )
        assert "not available" in page_of(bundles / "r.md", bundles / "first")
