"""Bundles and results that a report includes, leaves out and refuses."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from cxredge.artifacts.hashing import sha256_of_file, sha256_of_json, with_content_hash
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.report import numbers, write_report
from tests.report.sample_bundles import page_of, result_of


class TestInputs:
    def test_results_of_another_bundle_are_left_out_with_a_note(self, bundles):
        shutil.copytree(bundles / "first" / "results", bundles / "second" / "results")
        out = bundles / "r.html"
        written = write_report([bundles / "second"], out)
        assert written.results == 0
        assert len(written.notes) == 3
        assert "results/bench-files.json was measured on another bundle" in out.read_text()

    def test_result_of_another_bundle_is_listed_separately_with_a_note(self, bundles):
        stray = bundles / "first" / "results" / "bench-files.json"
        written = write_report([bundles / "second", stray], bundles / "r.json")
        (note,) = written.notes
        assert "bench-files.json was measured on another bundle" in note
        chapters = json.loads((bundles / "r.json").read_text())["chapters"]
        assert chapters[0]["card"] == sha256_of_file(bundles / "second" / "card.json")
        assert chapters[1]["card"] == sha256_of_file(bundles / "first" / "card.json")
        (latency,) = (h for h in chapters[0]["headlines"] if h["label"] == "Latency, median")
        assert latency["value"] is None

    def test_files_that_are_not_results_are_left_out_with_a_note(self, bundles):
        (bundles / "first" / "results" / "other.json").write_text("{}")
        written = write_report([bundles / "first"], bundles / "r.html")
        assert written.results == 3
        assert "other.json" in written.notes[0]

    def test_result_given_with_its_bundle_is_added_to_it(self, bundles):
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

    def test_result_that_fits_two_copies_is_listed_separately(self, bundles):
        shutil.copytree(bundles / "first", bundles / "copy")
        moved = bundles / "r1.json"
        (bundles / "first" / "results" / "bench-files.json").rename(moved)
        out = bundles / "r.json"
        write_report([bundles / "first", bundles / "copy", moved], out)
        names = [chapter["name"] for chapter in json.loads(out.read_text())["chapters"]]
        assert names[:2] == ["first", "copy"]
        assert names[2].startswith("card ")


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

    def test_incomplete_result(self, bundles):
        result = result_of(bundles / "first", "bench-files.json")
        (bundles / "b.json").write_text(json.dumps({k: result[k] for k in list(result)[:6]}))
        with pytest.raises(ArtifactError, match="key 'threads' is missing"):
            write_report([bundles / "b.json"], bundles / "r.html")
        del result["state"], result["content_sha256"]
        (bundles / "b.json").write_text(json.dumps(result))
        with pytest.raises(ArtifactError, match="key 'state' is missing"):
            write_report([bundles / "b.json"], bundles / "r.html")
        not_finite = json.dumps({**result_of(bundles / "first", "bench-files.json")})
        not_finite = re.sub(r'"throughput": [0-9.]+', '"throughput": NaN', not_finite)
        (bundles / "b.json").write_text(not_finite)
        with pytest.raises(ArtifactError, match="NaN is not a JSON number"):
            write_report([bundles / "b.json"], bundles / "r.json")
        assert not list(bundles.glob("r.*"))

    def test_damaged_bundle(self, bundles):
        with (bundles / "first" / "model-int8.onnx").open("ab") as stream:
            stream.write(b"x")
        with pytest.raises(ArtifactError, match="damaged"):
            write_report([bundles / "first"], bundles / "r.html")

    def test_measurements_and_cards_are_never_replaced(self, bundles):
        for path in (
            bundles / "first" / "results" / "bench-files.json",
            bundles / "first" / "card.json",
            bundles / "first" / "calibration.csv",
        ):
            before = sha256_of_file(path)
            with pytest.raises(CxredgeError, match="not replaced"):
                write_report([bundles / "first"], path)
            assert sha256_of_file(path) == before

    def test_reports_are_replaced(self, bundles):
        for name in ("r.json", "r.csv"):
            write_report([bundles / "second"], bundles / name)
            assert "first" in page_of(bundles / name, bundles / "first")


class TestContradictions:
    def test_a_card_that_contradicts_itself_is_refused(self, bundles):
        """Also if its own hash was made again."""
        path = bundles / "first" / "card.json"
        for keys, value in (
            (("facts", "gate", "int8", "accuracy"), 0.999),
            (("facts", "thresholds", "int8", "normal"), 0.5),
            (("config", "gate", "min_agreement"), 0.9),
        ):
            card = json.loads(path.read_text())
            inner = card
            for key in keys[:-1]:
                inner = inner[key]
            inner[keys[-1]] = value
            body = {key: value for key, value in card.items() if key != "card_sha256"}
            changed = shutil.copytree(bundles / "first", bundles / keys[-1])
            card["card_sha256"] = sha256_of_json(body)
            (changed / "card.json").write_text(json.dumps(card))
            with pytest.raises(ArtifactError, match="contradicts itself"):
                write_report([changed], bundles / "r.html")

    def test_an_edited_result_is_left_out(self, bundles):
        path = bundles / "first" / "results" / "evaluate-test-int8.json"
        values = {**json.loads(path.read_text()), "accuracy": 0.999}
        for hashed in (values, with_content_hash(values)):
            path.write_text(json.dumps(hashed))
            written = write_report([bundles / "first"], bundles / "r.html")
            assert written.results == 2
            (note,) = written.notes
            assert note.startswith("Left out: results/evaluate-test-int8.json")
            assert '<div class="number">99.9%</div>' not in (bundles / "r.html").read_text()
        assert "accuracy is 0.9990, but" in note

    def test_times_of_an_edited_passport_are_not_shown(self, bundles):
        path = bundles / "first" / "passport.json"
        values = json.loads(path.read_text())
        latency = values["latency_ms"]["int8"]
        shown = numbers.milliseconds(latency["p50"])
        assert shown in page_of(bundles / "r.md", bundles / "first")
        latency["p50"] /= 100
        for edited in (values, with_content_hash(values)):
            path.write_text(json.dumps(edited))
            written = write_report([bundles / "first"], bundles / "r.md")
            assert "all times of the candidates: passport.json" in written.notes[0]
            page = (bundles / "r.md").read_text()
            assert numbers.milliseconds(latency["p50"]) not in page
        assert "is not that of its fastest runtime" in written.notes[0]
