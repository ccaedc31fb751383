"""OpenVINO compared with ONNX Runtime: equal results, and clear errors without it."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

from cxredge.backends import installed_on_cpu, open_session, reduced_precisions
from cxredge.backends import openvino as backend
from cxredge.backends.openvino import OpenVinoSession
from cxredge.errors import ArtifactError, CxredgeError, DependencyError
from cxredge.metrics.classification import softmax
from cxredge.vocabulary import Precision


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (7, 64, 64), dtype=np.uint8)


@pytest.fixture
def expected(fp32: Path, images: np.ndarray) -> np.ndarray:
    with open_session(fp32) as session:
        return session.infer(images)


@pytest.mark.parametrize("batch", [1, 4, 16])
@pytest.mark.parametrize("threads", [0, 1])
def test_fp32_is_computed_in_fp32_for_every_batch(
    openvino: None, fp32: Path, images: np.ndarray, expected: np.ndarray, batch: int, threads: int
) -> None:
    """On processors with BF16, OpenVINO would use it for FP32 models by default."""
    with open_session(fp32, "openvino", threads, batch=batch) as session:
        assert (session.spec.size, session.spec.classes) == (64, 4)
        assert session.spec.batch == batch
        for count in (1, 4, 7):
            assert np.abs(session.infer(images[:count]) - expected[:count]).max() < 1e-4


def test_int8_decides_as_in_onnx_runtime(openvino: None, built: Path, images: np.ndarray) -> None:
    model = built / "model-int8.onnx"
    with open_session(model) as one, open_session(model, "openvino") as other:
        difference = softmax(one.infer(images)) - softmax(other.infer(images))
    assert np.abs(difference).max() < 2e-2


def test_threads_share_a_session(
    openvino: None, fp32: Path, images: np.ndarray, expected: np.ndarray
) -> None:
    with open_session(fp32, "openvino", threads=1) as session, ThreadPoolExecutor(4) as pool:
        indices = [n % len(images) for n in range(200)]
        found = list(pool.map(lambda i: session.infer(images[i : i + 1])[0], indices))
    assert np.abs(np.stack(found) - expected[indices]).max() < 1e-4


def test_logits_are_not_overwritten_by_the_next_inference(
    openvino: None, fp32: Path, images: np.ndarray
) -> None:
    with open_session(fp32, "openvino") as session:
        first = session.infer(images[:1])
        kept = first.copy()
        session.infer(images[1:2])
        assert (first == kept).all()


def test_reduced_precisions_are_the_processors(
    openvino: None, fp32: Path, images: np.ndarray, expected: np.ndarray
) -> None:
    assert reduced_precisions("onnxruntime") == ()
    for precision in reduced_precisions("openvino"):
        with open_session(fp32, "openvino", precision=precision) as session:
            difference = np.abs(session.infer(images) - expected).max()
        # Rounded to 8 or 11 bits: not FP32, and not something else either.
        assert 1e-6 < difference < 0.1 * np.abs(expected).max()


def test_a_precision_that_the_processor_lacks_is_refused(
    openvino: None, fp32: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "reduced_precisions", lambda: ())
    with pytest.raises(CxredgeError, match="does not support bf16 on this processor") as refused:
        OpenVinoSession(fp32, precision=Precision.BF16)
    assert "cxredge deploy BUNDLE" in refused.value.hint


def test_other_files_are_refused(openvino: None, fp32: Path, tmp_path: Path) -> None:
    damaged, other = tmp_path / "damaged.onnx", tmp_path / "other.onnx"
    damaged.write_bytes(fp32.read_bytes()[:1000])
    with pytest.raises(ArtifactError, match="is not a valid ONNX model"):
        OpenVinoSession(damaged)
    model = onnx.load(fp32)
    model.graph.output[0].name = model.graph.node[-1].output[0] = "scores"
    onnx.save(model, other)
    with pytest.raises(ArtifactError, match=r"outputs \['scores'\]; a cxredge model has"):
        OpenVinoSession(other)


def test_importing_openvino_sends_no_telemetry(openvino: None) -> None:
    """The wheel requires a package that sends an event when OpenVINO is imported."""
    code = (
        "import sys\n"
        "from cxredge.backends.openvino import load_openvino\n"
        "load_openvino().Core()\n"
        "loaded = [name for name in sys.modules if name.startswith('openvino_telemetry')]\n"
        "assert loaded == [], loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_openvino_the_error_says_what_to_do(
    fp32: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(backend, "is_installed", lambda: False)
    with pytest.raises(DependencyError, match="required and not installed") as missing:
        open_session(fp32, "openvino")
    assert "pip install 'cxredge[openvino]'" in missing.value.hint
    assert "cxredge deploy BUNDLE" in missing.value.hint
    assert installed_on_cpu() == ("onnxruntime",)
    assert reduced_precisions("openvino") == ()


def test_a_broken_openvino_is_distinguished_from_a_missing_one(
    fp32: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(backend, "is_installed", lambda: True)
    with pytest.raises(DependencyError, match="is installed, but cannot be imported"):
        open_session(fp32, "openvino")
