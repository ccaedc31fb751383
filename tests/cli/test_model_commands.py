"""The table of commands that checks outside the project rely on, a test for each row: models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxredge.artifacts.card import read_card
from cxredge.artifacts.model_card import QuantizedCard


def test_models(cxredge) -> None:
    ran = cxredge("models", "--json")
    networks = {row["name"]: row for row in ran.json}
    first = networks["mobilenet_v1"]
    assert first["paper_name"] == "MobileNet"
    assert first["input_size"] == 224
    assert first["parameters"] == 3_228_864
    assert first["features"] == 1024
    assert first["paper_freeze"]["trainable"] == 1_593_856
    assert first["paper_freeze"]["percent"] == pytest.approx(49.4)
    assert networks["mobilenet_v2"]["parameters"] == 2_257_984


@pytest.mark.train
def test_train(run_folder: Path, phantoms: Path, cxredge) -> None:
    ran = cxredge(
        "train", phantoms / "manifest.csv", "--model", "mobilenet_v1", "--weights", "none",
        "--freeze", "none", "--input-size", 64, "--epochs", 2, "--batch-size", 16,
        "--learning-rate", 0.003, "--out", run_folder, "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "up to date" in ran.err
    found = ran.json
    assert found["run"] == str(run_folder)
    assert found["epochs"] == 2
    assert found["seconds_per_epoch"] > 0
    assert 0 <= found["validation"]["accuracy"] <= 1
    test = found["test"]
    assert test["ci95"][0] <= test["accuracy"] <= test["ci95"][1]
    assert 0 <= test["macro_f1"] <= 1
    assert np.sum(test["confusion"]) == found["images"]["test"]
    for name in ("model.safetensors", "card.json", "history.csv", "curves.svg"):
        assert (run_folder / name).stat().st_size > 0
    assert len((run_folder / "history.csv").read_text().splitlines()) == 3


@pytest.mark.train
def test_export(run_folder: Path, tmp_path: Path, cxredge) -> None:
    ran = cxredge("export", run_folder, "--out", tmp_path / "model", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["model"] == str(tmp_path / "model")
    assert ran.json["parity_max_abs"] <= 1e-4
    assert (tmp_path / "model" / "model.onnx").is_file()
    assert (tmp_path / "model" / "card.json").is_file()


def test_calibrate(phantoms: Path, tmp_path: Path, cxredge) -> None:
    out = tmp_path / "calibration.csv"
    ran = cxredge("calibrate", phantoms / "manifest.csv", "--count", 20, "--out", out, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["manifest"] == str(out)
    assert ran.json["images"] == 20
    assert ran.json["classes"] == {"bacterial": 5, "covid19": 5, "normal": 5, "viral": 5}


@pytest.mark.parametrize("dialect", ["cpu", "tensorrt"])
def test_quantize(
    dialect: str, model: Path, calibration: Path, phantoms: Path, tmp_path: Path, cxredge
) -> None:
    ran = cxredge(
        "quantize", model, "--calibration", calibration, "--dialect", dialect,
        "--evaluate", phantoms / "manifest.csv", "--out", tmp_path / "int8", "--json",
        "--statistics", tmp_path / "kept",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    found = ran.json
    assert found["model"] == str(tmp_path / "int8")
    assert "calibration images are few" in found["warnings"][0]
    # Of the network as it came, and with its channels equalised.
    assert len(list((tmp_path / "kept").glob("statistics-*.npz"))) == 2
    assert 0.8 <= found["agreement"] <= 1
    assert {"accuracy_fp32", "accuracy_int8", "seconds", "peak_rss_mb"} <= set(found)
    steps = [step["step"] for step in found["steps"]]
    assert steps[:4] == ["minmax ranges", "percentile ranges", "mse ranges", "equalised channels"]
    assert found["chosen"] in steps
    assert found["peak_rss_mb"] > 10


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--dialect", "cpu"], "uint8 has a zero point"),
        (["--correction", "none"], "require corrected biases"),
    ],
)
def test_what_cannot_be_centred(
    options: list[str], words: str, model: Path, calibration: Path, phantoms: Path, tmp_path: Path,
    cxredge,
) -> None:  # fmt: skip
    ran = cxredge(
        "quantize", model, "--calibration", calibration, "--evaluate", phantoms / "manifest.csv",
        "--centre", *options, "--out", tmp_path / "int8",
    )  # fmt: skip
    assert ran.code == 2
    assert words in ran.err
    assert not (tmp_path / "int8").exists()


@pytest.mark.train
def test_extensive_effort_goes_on_until_nothing_is_left_to_try(
    model: Path, run_folder: Path, calibration: Path, phantoms: Path, tmp_path: Path, cxredge,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    quantization_aware = pytest.importorskip("cxredge.training.quantization_aware")
    short = quantization_aware.FineTuning(steps=10)
    monkeypatch.setattr(quantization_aware, "FineTuning", lambda: short)
    ran = cxredge(
        "quantize", model, "--calibration", calibration, "--evaluate", phantoms / "manifest.csv",
        "--effort", "extensive", "--aim-agreement", 1, "--aim-logit-error", 0,
        "--fine-tune", run_folder, "--out", tmp_path / "int8", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    steps = ran.json["steps"]
    assert [step["step"] for step in steps] == [
        "minmax ranges", "percentile ranges", "entropy ranges", "mse ranges", "equalised channels",
        "corrected weights", "corrected weights, activations centred",
        "1 sensitive layer in float", "fine-tuned weights",
    ]  # fmt: skip
    errors = {step["step"]: step["logit_error"] for step in steps}
    assert errors[ran.json["chosen"]] == min(errors.values())


@pytest.mark.parametrize(
    ("dialect", "effort", "aim"),
    [
        ("tensorrt", "default", 0.02),
        ("cpu", "default", 0.03),
        ("tensorrt", "extensive", 0.005),
        ("cpu", "extensive", 0.005),
    ],
)
def test_the_search_stops_at_the_allowed_logit_error(
    dialect: str, effort: str, aim: float, model: Path, calibration: Path, phantoms: Path,
    tmp_path: Path, cxredge,
) -> None:  # fmt: skip
    """A step is tried only if the one before misses the goal."""
    ran = cxredge(
        "quantize", model, "--calibration", calibration, "--evaluate", phantoms / "manifest.csv",
        "--dialect", dialect, "--effort", effort, "--range-method", "minmax", "--no-equalise",
        "--aim-agreement", 0, "--out", tmp_path / "int8", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert read_card(tmp_path / "int8", QuantizedCard).config.goal.max_logit_error == aim
    *before, last = ran.json["steps"]
    assert all(step["logit_error"] > aim for step in before)
    assert last["logit_error"] <= aim or last["step"] == "1 sensitive layer in float"
