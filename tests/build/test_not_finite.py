"""Networks that return NaN or infinity: no result, and a build without the precision that does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cxredge.artifacts.card import ClassifierSpec
from cxredge.backends.base import Outputs
from cxredge.backends.batched import NotFiniteError, check_finite
from cxredge.build.held_out import infer_split
from cxredge.build.measure import _finite
from cxredge.build.speed import Variant
from cxredge.data.images import PREPROCESSING
from cxredge.data.manifest import Manifest
from cxredge.progress import Silent
from cxredge.vocabulary import Precision, Split
from tests.conftest import Run


def test_finite_logits_are_returned_and_others_counted() -> None:
    logits = np.zeros((5, 3), np.float32)
    assert check_finite(logits, "x") is logits
    logits[1, 2], logits[4, 0] = np.nan, -np.inf
    with pytest.raises(NotFiniteError, match=r"^x returned NaN or infinity for 2 of 5 images"):
        check_finite(logits, "x")


@pytest.mark.parametrize("command", ["evaluate", "bench", "verify"])
def test_no_result_is_made_of_nan(
    command: str, bundle: Path, phantoms: Path, cxredge: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"evaluate": [phantoms / "manifest.csv"], "bench": ["--seconds", 0], "verify": []}
    monkeypatch.setattr("cxredge.backends.onnxruntime.OnnxRuntimeSession.run", overflow)
    before = sorted(bundle.rglob("*"))
    ran = cxredge(command, bundle, *arguments[command])
    assert ran.code == 1
    assert "returned NaN or infinity for" in ran.err
    assert sorted(bundle.rglob("*")) == before


def overflow(session: Any, images: np.ndarray) -> Outputs:
    return Outputs(np.full((len(images), session.spec.classes), np.nan, np.float32))


def test_a_build_of_nan_is_refused(
    model: Path, calibration: Path, tmp_path: Path, cxredge: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxredge.backends.onnxruntime.OnnxRuntimeSession.run", overflow)
    for precision in ("fp32", "auto"):
        out = tmp_path / precision
        ran = cxredge(
            "build", model, "--precision", precision, "--calibration", calibration, "--out", out
        )
        assert ran.code == 1
        assert "returned NaN or infinity for" in ran.err
        assert not out.exists()


def test_only_the_precision_that_overflows_is_left_out(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []

    class Listener(Silent):
        def note(self, message: str) -> None:
            notes.append(message)

    def run(path: Path, pixels: np.ndarray, backend: str, precision: Precision) -> Outputs:
        value = np.nan if precision is Precision.BF16 else 0
        logits = np.full((len(pixels), 4), value, np.float32)
        return Outputs(check_finite(logits, f"{path} in {precision.value} on {backend}"))

    monkeypatch.setattr("cxredge.build.held_out.run_file", run)
    fp32, bf16 = (Variant("openvino", p, Path("a.onnx")) for p in (Precision.FP32, Precision.BF16))
    classifier = ClassifierSpec("tiny", manifest.classes, 32, 0.5, 0.5, PREPROCESSING)
    found = infer_split(manifest.of(Split.TEST), (fp32, bf16), classifier, Listener())
    assert list(found.logits) == [fp32]
    assert notes == [
        f"a.onnx in bf16 on openvino returned NaN or infinity for {len(found.fp32)} of "
        f"{len(found.fp32)} images; no result of it can be trusted. It is left out."
    ]
    config = SimpleNamespace(precision=None)
    assert _finite((fp32, bf16), found, config) == (fp32,)
    config.precision = Precision.BF16
    with pytest.raises(NotFiniteError, match="NaN or infinity in bf16"):
        _finite((fp32, bf16), found, config)
