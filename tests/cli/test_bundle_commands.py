"""The table of commands that checks outside the project rely on, a test for each row: bundles."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cxredge.artifacts.atomic import write_json
from cxredge.artifacts.hashing import with_content_hash
from cxredge.artifacts.records import read_json_file
from cxredge.cli.bench import bench
from cxredge.data.manifest import read_manifest, write_manifest
from cxredge.quantization import search
from cxredge.vocabulary import Effort, Split


def test_targets(cxredge) -> None:
    targets = {row["name"]: row for row in cxredge("targets", "--json").json}
    assert targets["cpu-x86"]["backend"] == "onnxruntime"
    assert targets["cpu-x86"]["dialect"] == "cpu"
    assert set(targets["cpu-arm"]["precisions"]) == {"fp32", "fp16", "int8"}


def test_doctor(cxredge) -> None:
    ran = cxredge("doctor", "--json")
    assert ran.code == 0
    assert ran.json["ok"] is True
    assert ran.json["machine"]["cores"] >= 1


def test_build(model: Path, calibration: Path, tmp_path: Path, cxredge) -> None:
    out = tmp_path / "bundle"
    ran = cxredge(
        "build", model, "--target", "here", "--precision", "auto", "--calibration", calibration,
        "--out", out, "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    found = ran.json
    assert found["bundle"] == str(out)
    assert found["target"] in ("cpu-x86", "cpu-arm")
    assert found["backend"] == "onnxruntime"
    assert Path(found["engine"]).is_file()
    assert found["gate"]["passed"] is True
    assert [c["precision"] for c in found["candidates"]] == ["fp32", "int8"]
    assert all(c["latency_ms"]["p50"] > 0 for c in found["candidates"])
    passing = [c for c in found["candidates"] if c["passed"]]
    fastest = min(passing, key=lambda c: c["latency_ms"]["p50"])
    assert found["precision"] == fastest["precision"]
    names = {path.name for path in out.iterdir()}
    assert {"card.json", "golden.npz", "calibration.csv", "passport.json"} <= names
    assert {"model-fp32.onnx", "model-int8.onnx"} <= names


def test_build_of_a_bundle_finishes_it_here(bundle: Path, cxredge) -> None:
    (bundle / "passport.json").unlink()
    ran = cxredge("build", bundle, "--precision", "fp32", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["precision"] == "fp32"
    assert json.loads((bundle / "passport.json").read_text())["engine"] == "model-fp32.onnx"


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_predict(suffix: str, bundle: Path, phantoms: Path, tmp_path: Path, cxredge) -> None:
    out = tmp_path / f"predictions{suffix}"
    ran = cxredge("predict", bundle, phantoms / "images", "--out", out, "--json")
    assert ran.code == 0, ran.err
    found = ran.json
    assert found["images"] == found["ok"] + found["unfamiliar"]
    assert found["ok"] > 100
    assert found["failed"] == 0
    assert found["images_per_second"] > 0
    assert {"decode", "infer", "write"} <= set(found["stages"])
    assert out.is_file()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_predictions_csv_columns(bundle: Path, phantoms: Path, tmp_path: Path, cxredge) -> None:
    out = tmp_path / "predictions.csv"
    assert cxredge("predict", bundle, phantoms / "images", "--out", out).code == 0
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    classes = ["bacterial", "covid19", "normal", "viral"]
    assert list(rows[0]) == [
        "path", "status", "label", "probability", *(f"p_{c}" for c in classes),
        "set", "familiarity", "decided_by", "margin", "above_threshold", "error",
    ]  # fmt: skip
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    for row in rows:
        shares = [float(row[f"p_{c}"]) for c in classes]
        assert sum(shares) == pytest.approx(1, abs=1e-4)
        assert row["decided_by"] in ("fp32", "int8")
        if row["status"] == "unfamiliar":
            assert float(row["familiarity"]) < 1
            unknown = ("label", "probability", "set", "margin", "above_threshold")
            assert {row[name] for name in unknown} == {""}
            continue
        assert float(row["familiarity"]) >= 1
        assert row["label"] == classes[int(np.argmax(shares))]
        assert row["label"] in row["set"].split("|")
        assert set(row["set"].split("|")) <= set(classes)
        assert float(row["probability"]) == pytest.approx(max(shares), abs=1e-6)
        *_, second, first = sorted(shares)
        assert float(row["margin"]) == pytest.approx(first - second, abs=2e-6)
        assert set(row["above_threshold"].split(";")) <= {"", *classes}


def test_evaluate(bundle: Path, phantoms: Path, cxredge) -> None:
    ran = cxredge("evaluate", bundle, phantoms / "manifest.csv", "--split", "test", "--json")
    assert ran.code == 0, ran.err
    found = ran.json
    for name in ("accuracy", "macro_f1", "auroc", "calibration_error"):
        low, high = found[f"{name}_ci95"]
        assert 0 <= low <= found[name] <= high <= 1 or name == "calibration_error"
    assert set(found["sensitivity"]) == {"bacterial", "covid19", "normal", "viral"}
    assert np.sum(found["confusion"]) == found["images"]
    assert isinstance(found["flipped"], list)
    difference = found["accuracy"] - found["accuracy_fp32"]
    assert found["accuracy_difference_fp32"] == pytest.approx(difference)
    low, high = found["accuracy_difference_fp32_ci95"]
    assert low <= difference + 1e-9
    assert difference <= high + 1e-9
    assert Path(found["result"]).is_file()
    assert found["images_without_patient"] == 0
    assert (found["seen"]["images"], found["seen"]["patients"]) == (0, 0)


def test_evaluate_counts_what_was_trained_on(
    bundle: Path, phantoms: Path, tmp_path: Path, cxredge
) -> None:
    manifest = read_manifest(phantoms / "manifest.csv")
    half = manifest.of(Split.TRAIN)[::2]
    renamed = [replace(e, split=Split.TEST) for e in (*half, *manifest.of(Split.TEST))]
    listed = tmp_path / "list.csv"
    write_manifest(listed, renamed)
    ran = cxredge("evaluate", bundle, listed)
    assert ran.code == 0, ran.err
    patients = {e.patient for e in half}
    total = len({e.patient for e in renamed})
    assert (
        f"Seen in training: {len(half)} of {len(renamed)} images, {len(patients)} of {total} "
        "patients."
    ) in ran.out
    assert f"{len(half)} of the images were trained on: accuracy is optimistic." in ran.out
    page = tmp_path / "report.md"
    assert cxredge("report", bundle, "--out", page).code == 0
    assert f"{len(half)} of the images were trained on" in page.read_text()


def test_evaluate_repeats_the_audit(bundle: Path, phantoms: Path, tmp_path: Path, cxredge) -> None:
    listed = tmp_path / "list.csv"
    write_manifest(listed, read_manifest(phantoms / "manifest.csv").entries)
    assert any(
        "not audited" in w for w in cxredge("evaluate", bundle, listed, "--json").json["warnings"]
    )
    warnings = cxredge("data", "audit", listed, "--json").json["warnings"]
    record = read_json_file(tmp_path / "list.audit.json")
    write_json(tmp_path / "list.audit.json", {**record, "warnings": [*warnings, "A leak."]})
    assert cxredge("evaluate", bundle, listed, "--json").json["warnings"] == [*warnings, "A leak."]
    page = tmp_path / "report.md"
    assert cxredge("report", bundle, "--out", page).code == 0
    assert "A leak." in page.read_text()


@pytest.mark.parametrize("scenario", ["single-stream", "multi-stream", "offline"])
def test_bench(scenario: str, bundle: Path, phantoms: Path, cxredge) -> None:
    ran = cxredge(
        "bench", bundle, "--scenario", scenario, "--images", phantoms / "images",
        "--seconds", 0, "--queries", 20, "--warm-up", 2, "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    found = ran.json
    latency = found["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"]
    assert found["throughput"] > 0
    assert {"decode", "compute", "post"} <= set(found["stages_ms"])
    assert found["verdict"]["comparable"] is False
    assert any("20 queries" in reason for reason in found["verdict"]["reasons"])


def test_verify(bundle: Path, cxredge) -> None:
    ran = cxredge("verify", bundle, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["passed"] is True
    assert [r["precision"] for r in ran.json["replays"]] == ["fp32", "int8"]


def test_inspect(
    bundle: Path, model: Path, phantoms: Path, calibration: Path, tmp_path: Path, cxredge
) -> None:
    predictions = tmp_path / "predictions.csv"
    cxredge("predict", bundle, phantoms / "images", "--out", predictions)
    cxredge("evaluate", bundle, phantoms / "manifest.csv")
    result = next((bundle / "results").iterdir())
    kinds = {
        bundle: "bundle",
        bundle / "card.json": "bundle",
        model: "model",
        model / "model.onnx": "onnx",
        phantoms / "manifest.csv": "manifest",
        calibration: "manifest",
        predictions: "predictions",
        result: "evaluation",
    }
    for path, kind in kinds.items():
        ran = cxredge("inspect", path, "--json")
        assert ran.code == 0, ran.err
        assert ran.json["kind"] == kind
        assert cxredge("inspect", path).out.startswith("kind: " + kind)
    short, whole = cxredge("inspect", bundle).out, cxredge("inspect", bundle, "-v").out
    for words in ("int8: passed, accuracy", "files match their hashes", "tried:\n  ran. "):
        assert words in short
    assert len(short.splitlines()) < 25 < len(whole.splitlines())
    assert "card_sha256: " in whole
    assert not re.search(r"\b(None|True|False)\b|\d\.0*[1-9]\d{6}", whole), "words, and few digits"
    tried = cxredge("inspect", bundle, "--json").json["tried"]
    assert [one["backend"] for one in tried] == ["onnxruntime"]


@pytest.mark.parametrize("suffix", [".html", ".md", ".json"])
def test_report(suffix: str, bundle: Path, phantoms: Path, tmp_path: Path, cxredge) -> None:
    cxredge("evaluate", bundle, phantoms / "manifest.csv")
    cxredge("bench", bundle, "--seconds", 0, "--queries", 5)
    out = tmp_path / f"report{suffix}"
    ran = cxredge("report", bundle, "--out", out, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["report"] == str(out)
    assert "Research use only" in out.read_text()


def test_compare(bundle: Path, phantoms: Path, tmp_path: Path, cxredge) -> None:
    result = tmp_path / "a.json"
    cxredge("evaluate", bundle, phantoms / "manifest.csv", "--out", result)
    ran = cxredge("compare", result, result, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["regressions"] == 0
    assert ran.json["same"] == [str(result)]
    assert f"{result} is the same as {result}, or a copy" in cxredge("compare", result, result).out
    assert {row["metric"] for row in ran.json["rows"]} >= {"accuracy", "auroc"}
    worse = tmp_path / "b.json"
    cxredge("evaluate", bundle, with_rotated_labels(phantoms, tmp_path), "--out", worse)
    same = json.loads(result.read_text())["manifest_sha256"]
    changed = {**json.loads(worse.read_text()), "manifest_sha256": same}
    worse.write_text(json.dumps(with_content_hash(changed)))
    refused = cxredge("compare", result, worse, "--json")
    assert refused.code == 3, refused.err
    assert refused.json["regressions"] >= 1
    worse.write_text(json.dumps({**changed, "accuracy": 0.99}))
    edited = cxredge("compare", result, worse)
    assert edited.code == 1
    assert cxredge("verify", bundle, "--json").json["results"] == 0
    (bundle / "results").mkdir()
    shutil.copy(worse, bundle / "results" / "copied.json")
    verified = cxredge("verify", bundle)
    assert verified.code == 1
    assert "not its results: results/copied.json was changed" in verified.err
    assert "was changed after it was written" in edited.err
    assert cxredge("inspect", worse).code == 1


def with_rotated_labels(phantoms: Path, folder: Path) -> Path:
    """Return a manifest whose images have the label of the next class."""
    entries = read_manifest(phantoms / "manifest.csv").entries
    labels = sorted({entry.label for entry in entries})
    following = dict(zip(labels, labels[1:] + labels[:1], strict=True))
    changed = [replace(entry, label=following[entry.label]) for entry in entries]
    return write_manifest(folder / "rotated.csv", changed).path


@pytest.mark.train
@pytest.mark.slow
def test_demo(tmp_path: Path, cxredge, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="needs the train extra")
    # Every step on little: all of it is run after the tests, and what it learnt is checked there.
    small = {"_PATIENTS": 30, "_INPUT_SIZE": 64, "_EPOCHS": 1, "_BENCH_S": 0.2}
    for name, value in small.items():
        monkeypatch.setattr(f"cxredge.cli.demo.{name}", value)
    monkeypatch.setattr(search, "_MAX_FLOAT_STEPS", dict.fromkeys(Effort, 1))
    monkeypatch.setattr("cxredge.cli.bench.bench", partial(bench, queries=50))
    ran = cxredge("demo", "--out", tmp_path / "demo", "--json")
    assert ran.code == 0, ran.err
    found = ran.json
    assert Path(found["report"]).is_file()
    assert Path(found["bundle"]).is_dir()
    images = sum(path.is_file() for path in (tmp_path / "demo" / "data" / "images").rglob("*"))
    with Path(found["predictions"]).open(newline="") as stream:
        statuses = [row["status"] for row in csv.DictReader(stream)]
    # Every image has a row; a share of familiar images of 95% refuses some of them.
    assert len(statuses) == images > 200
    assert set(statuses) <= {"ok", "unfamiliar"}
    assert statuses.count("ok") >= 0.9 * images
    results = {path.name for path in (Path(found["bundle"]) / "results").iterdir()}
    assert {name.rsplit("-", 1)[0] for name in results} == {
        "evaluate-test", "bench-single-stream-memory", "bench-single-stream-files"
    }  # fmt: skip
    assert {"accuracy_fp32", "accuracy_int8"} <= set(found)


def test_xrays_inside_are_announced_and_may_be_deleted(
    bundle: Path, phantoms: Path, tmp_path: Path, cxredge
) -> None:
    deployed = cxredge("deploy", bundle, "--precision", "fp32")
    assert "X-rays of the data set inside: 12 golden images (golden.npz)" in deployed.out
    page = cxredge("report", bundle, "--out", tmp_path / "r.html", "--json").json
    assert page["xrays"] >= 12
    shown = cxredge("report", bundle, "--out", tmp_path / "r.html")
    assert f"contains {page['xrays']} X-rays of the data set; --no-images" in shown.out
    for option in ("--no-images", "--no-xrays"):
        assert cxredge("report", bundle, "--out", tmp_path / "r.html", option, "--json").json[
            "xrays"
        ] == 0  # fmt: skip
    for name in ("golden.npz", "flipped.npz"):
        (bundle / name).unlink(missing_ok=True)
    verified = cxredge("verify", bundle)
    assert verified.code == 0
    assert "Not checked: the bundle has no golden images" in verified.out
    found = cxredge("verify", bundle, "--json").json
    assert (found["replays"], len(found["not_checked"])) == ([], 1)
    refused = cxredge("deploy", bundle)
    assert refused.code == 1
    assert "golden.npz is missing" in refused.err
    assert cxredge("inspect", bundle).code == 0
    assert cxredge("report", bundle, "--out", tmp_path / "r.html", "--json").json["xrays"] == 0
    rows = tmp_path / "p.csv"
    assert cxredge("predict", bundle, phantoms / "images", "--out", rows).code == 0


def test_no_file_of_a_result_names_an_image(
    bundle: Path, phantoms: Path, tmp_path: Path, cxredge
) -> None:
    manifest = with_rotated_labels(phantoms, tmp_path)
    for given in (phantoms / "manifest.csv", manifest):
        assert cxredge("evaluate", bundle, given).code == 0
    cxredge("bench", bundle, "--seconds", 0, "--queries", 5, "--images", phantoms / "images")
    for suffix in (".html", ".md", ".csv", ".json"):
        assert cxredge("report", bundle, "--out", tmp_path / f"out{suffix}").code == 0
    names = [path.name for path in (phantoms / "images").rglob("*.*")]
    files = [path for path in bundle.rglob("*") if path.is_file()]
    assert len([path for path in files if path.name.startswith("evaluate-")]) == 2
    for path in [*files, *tmp_path.glob("out.*")]:
        content = path.read_bytes()
        assert str(phantoms).encode() not in content
        assert not [name for name in names if name.encode() in content], path


def test_the_next_line_prints_what_is_known(bundle: Path, phantoms: Path, cxredge) -> None:
    step = cxredge("evaluate", bundle, phantoms / "manifest.csv").err
    assert f"Next: cxredge bench {bundle} --images {phantoms / 'images'}" in step
    assert "trtexec" not in cxredge("inspect", bundle).out
