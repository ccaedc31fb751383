"""``cxredge bench``, from the command line to the result."""

import json
from pathlib import Path

import numpy as np
import pytest

from cxredge.bench import loadgen
from cxredge.bundle.bundle import open_bundle, read_golden
from cxredge.telemetry.energy import Energy
from cxredge.telemetry.sampling import Sampler

QUICK = ("--seconds", 0, "--queries", 30, "--warm-up", 2, "--harness", "builtin", "--json")
STAGES = ["read", "decode", "preprocess", "compute", "post"]


def test_result_states_measurement_and_conditions(bundle: Path, phantoms: Path, cxredge) -> None:
    found = cxredge("bench", bundle, "--images", phantoms / "images", *QUICK).json
    assert found["schema"] == "cxredge.bench/1"
    assert found["harness"] == "builtin"
    assert found["loadgen"] is None
    assert found["timed"] == STAGES == list(found["stages_ms"])
    assert found["preprocessing"] == "grey-square/2"
    assert (found["input_size"], found["samples_per_query"]) == (64, 1)
    assert found["queries"] == {"count": 30, "needed": 1000, "samples": 30}
    assert found["score"]["percentile"] == 90
    assert found["score"]["value"] == found["latency_ms"]["p90"]
    assert len(found["histogram_ms"]) == 30
    assert found["mlperf_shortfalls"]
    assert found["energy"] is None or found["energy"]["joules_per_image"] > 0
    assert found["peak_memory_mb"] > 20
    assert json.loads(Path(found["result"]).read_text())["score"] == found["score"]


def test_cold_start_is_split_into_parts(bundle: Path, cxredge) -> None:
    cold = cxredge("bench", bundle, *QUICK).json["cold_start_ms"]
    assert list(cold) == ["process", "load", "first_inference"]
    assert all(milliseconds > 0 for milliseconds in cold.values())


def test_state_before_during_and_after(bundle: Path, cxredge) -> None:
    state = cxredge("bench", bundle, *QUICK).json["state"]
    assert list(state) == ["before", "during", "after"]
    assert set(state["before"]) == set(state["after"])
    assert state["during"]["samples"] >= 2
    memory = state["during"]["process_memory_mb"]
    assert memory["min"] <= memory["mean"] <= memory["max"]


@pytest.mark.skipif(not loadgen.is_installed(), reason="needs the mlperf extra")
@pytest.mark.parametrize("scenario", ["single-stream", "multi-stream", "offline"])
def test_loadgen_sends_the_queries_and_its_logs_can_be_kept(
    scenario: str, bundle: Path, phantoms: Path, tmp_path: Path, cxredge
) -> None:
    ran = cxredge(
        "bench", bundle, "--scenario", scenario, "--images", phantoms / "images", "--seconds", 0,
        "--queries", 20, "--harness", "loadgen", "--loadgen-logs", tmp_path / "logs", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    found = ran.json
    assert found["harness"] == "loadgen"
    assert found["loadgen"]["version"]
    assert found["warm_up_queries"] == 50
    if scenario == "offline":
        assert found["score"]["value"] == pytest.approx(
            found["loadgen"]["samples_per_second"], rel=1e-3
        )
    else:
        assert found["score"]["value"] == pytest.approx(found["loadgen"]["percentile_ms"], rel=1e-3)
    assert (tmp_path / "logs/mlperf_log_summary.txt").is_file()


def test_auto_uses_loadgen_if_installed(bundle: Path, monkeypatch, cxredge) -> None:
    for installed, harness in ((False, "builtin"), (loadgen.is_installed(), None)):
        monkeypatch.setattr(loadgen, "is_installed", lambda installed=installed: installed)
        found = cxredge("bench", bundle, "--seconds", 0, "--queries", 5, "--json").json
        assert found["harness"] == (harness or ("loadgen" if installed else "builtin"))


def test_accuracy_equals_that_of_evaluate(bundle: Path, phantoms: Path, cxredge) -> None:
    manifest = phantoms / "manifest.csv"
    found = cxredge("bench", bundle, "--manifest", manifest, *QUICK).json["accuracy"]
    evaluated = cxredge("evaluate", bundle, manifest, "--json").json
    for key in ("accuracy", "accuracy_ci95", "images", "patients", "split", "manifest_sha256"):
        assert found[key] == evaluated[key], key
    assert found["golden"]["passed"]
    assert found["golden"]["images"] > 0
    assert 0 <= found["golden"]["agreement_fp32"] <= 1


def test_accuracy_of_another_split(bundle: Path, phantoms: Path, cxredge) -> None:
    ran = cxredge(
        "bench", bundle, "--manifest", phantoms / "manifest.csv", "--split", "val", *QUICK
    )
    assert ran.json["accuracy"]["split"] == "val"


def test_without_labels_no_accuracy_is_reported(bundle: Path, cxredge) -> None:
    found = cxredge("bench", bundle, *QUICK).json["accuracy"]
    assert found["accuracy"] is None
    assert "Accuracy was not measured" in cxredge("bench", bundle, *QUICK[:-1]).out


def test_accuracy_is_measured_on_the_timed_session(
    bundle: Path, phantoms: Path, monkeypatch, cxredge
) -> None:
    opened = []
    plain = type(open_bundle(bundle)).open
    monkeypatch.setattr(
        type(open_bundle(bundle)),
        "open",
        lambda self, *a, **k: opened.append(1) or plain(self, *a, **k),
    )
    assert cxredge("bench", bundle, "--manifest", phantoms / "manifest.csv", *QUICK).code == 0
    assert len(opened) == 1


def test_different_golden_results_make_it_not_comparable(bundle: Path, monkeypatch, cxredge):
    golden = read_golden(open_bundle(bundle))
    shifted = {p: np.roll(v, 1, axis=1) for p, v in golden.logits.items()}
    monkeypatch.setattr(
        "cxredge.bench.accuracy.read_golden",
        lambda bundle: type(golden)(golden.pixels, golden.labels, shifted),
    )
    found = cxredge("bench", bundle, *QUICK).json
    assert not found["accuracy"]["golden"]["passed"]
    assert found["accuracy"]["golden"]["agreement_fp32"] < 1
    assert "the golden images have different results on this machine" in found["verdict"]["reasons"]


def test_raw_stores_every_query(bundle: Path, cxredge) -> None:
    many = ("--seconds", 0, "--queries", 2500, "--warm-up", 0, "--harness", "builtin", "--json")
    thinned = cxredge("bench", bundle, *many).json
    assert len(thinned["histogram_ms"]) == 1250
    whole = cxredge("bench", bundle, "--raw", *many).json
    assert len(whole["histogram_ms"]) == whole["latency_ms"]["count"] == 2500


def test_energy_is_reported_if_it_can_be_read(bundle: Path, monkeypatch, cxredge) -> None:
    monkeypatch.setattr(Sampler, "energy", lambda self: Energy("power rails", 15.0, 3.0))
    found = cxredge("bench", bundle, *QUICK).json["energy"]
    assert found == {
        "source": "power rails", "joules": 15.0, "mean_watts": 5.0, "joules_per_image": 0.5,
    }  # fmt: skip
    assert "0.5 J per image, 5 W (power rails)" in cxredge("bench", bundle, *QUICK[:-1]).out


def test_energy_that_cannot_be_read_is_not_available(bundle: Path, monkeypatch, cxredge) -> None:
    monkeypatch.setattr(Sampler, "energy", lambda self: None)
    assert cxredge("bench", bundle, *QUICK).json["energy"] is None
    assert "Energy: not available" in cxredge("bench", bundle, *QUICK[:-1]).out


@pytest.mark.parametrize(
    "option", [("--memory", "mapped"), ("--cuda-graph",), ("--no-cuda-graph",)]
)
def test_gpu_options_are_refused_on_a_processor(option, bundle: Path, cxredge) -> None:
    ran = cxredge("bench", bundle, *option, *QUICK)
    assert ran.code == 2
    assert "runs on the processor" in ran.err


def test_layers_require_a_tensorrt_engine(bundle: Path, cxredge) -> None:
    ran = cxredge("bench", bundle, "--layers", *QUICK)
    assert ran.code == 2
    assert "is for TensorRT engines" in ran.err
    assert not (bundle / "results").exists()
