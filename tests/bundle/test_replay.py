"""Golden images: the outputs they hold, and what counts as the same on another machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxredge.artifacts.card import ClassifierSpec
from cxredge.backends.base import Outputs
from cxredge.backends.onnxruntime import OnnxRuntimeSession
from cxredge.bundle.bundle import open_bundle, read_golden
from cxredge.bundle.golden import Golden, write_golden
from cxredge.bundle.golden import read_golden as read_file
from cxredge.bundle.replay import MAX_DISTANCE_DIFFERENCE, Replay, compare_outputs
from cxredge.data.images import PREPROCESSING
from cxredge.errors import ArtifactError
from cxredge.vocabulary import Precision
from tests.conftest import Run

FP32, INT8 = Precision.FP32, Precision.INT8
SPEC = ClassifierSpec("tiny", ("a", "b"), 8, 0.5, 0.5, PREPROCESSING)


def outputs(distances: list[float] | None = None, shift: float = 0.0) -> Outputs:
    """Return outputs of three images, whose maps agree with their logits but for a shift."""
    logits = np.array([[2, 0], [0, 1], [3, 0]], np.float32)
    maps = np.tile((logits - [0.5, -0.25])[:, :, None, None], (1, 1, 2, 2)).astype(np.float32)
    maps[1, 0] += shift
    found = None if distances is None else np.array(distances, np.float32)
    return Outputs(logits, found, maps)


def compared(expected: list[float], found: list[float], precision: Precision = INT8) -> Replay:
    return compare_outputs((precision, precision), (outputs(expected), outputs(found)), (1.0, 1.0))


@pytest.mark.parametrize("precision", [FP32, INT8])
def test_distances_may_differ_by_what_the_precision_allows(precision: Precision) -> None:
    allowed = MAX_DISTANCE_DIFFERENCE[precision]
    for share, passed in ((0.9, True), (1.1, False)):
        found = compared([0.5, 0.8, 2.0], [0.5, 0.8, 2.0 * (1 + share * allowed)], precision)
        assert found.passed is passed
        assert found.max_distance_difference == pytest.approx(share * allowed, rel=1e-3)
        assert found.refusals_changed == 0


def test_an_image_must_not_become_unfamiliar_or_familiar() -> None:
    one = compared([0.5, 0.98, 1.02], [0.5, 1.01, 1.02])
    assert (one.refusals_changed, one.passed) == (1, False)
    both = compared([0.5, 0.98, 1.02], [0.5, 1.01, 0.99])
    assert (both.refusals_changed, both.passed) == (2, False)
    assert "2 become familiar or unfamiliar, distances change by up to 3.1%" in both.differences()


def test_rounding_may_decide_at_the_limit() -> None:
    """The limit is the distance of an image; on another machine, that image differs in a digit."""
    assert compared([0.5, 0.8, 1.0], [0.5, 0.8, 1.0001], FP32).passed


def test_maps_must_agree_with_the_logits() -> None:
    plain = outputs([1, 1, 1])
    for shift, precision, passed in ((0.02, FP32, False), (0.02, INT8, True), (2.0, INT8, False)):
        found = compare_outputs((precision, precision), (plain, outputs([1, 1, 1], shift)))
        assert found.passed is passed
        assert found.max_map_difference == pytest.approx(shift / 2 / 3)


def test_other_ranges_are_held_to_the_classes_and_the_refusals_of_fp32() -> None:
    """TensorRT's own calibrator chose them: its distances are not those of the build."""
    far, limits = outputs([0.8, 1.2, 3.0]), (1.0, 2.0)
    assert compare_outputs((FP32, INT8), (outputs([0.5, 0.9, 1.5]), far), limits).passed
    refused = compare_outputs((FP32, INT8), (outputs([0.5, 0.9, 0.9]), far), limits)
    assert (refused.refusals_changed, refused.passed) == (1, False)


def test_without_distances_only_logits_are_compared() -> None:
    """A bundle of an earlier version has none in its golden images."""
    found = compare_outputs((INT8, INT8), (Outputs(outputs().logits), outputs([1, 1, 1])))
    assert found.passed
    assert (found.max_distance_difference, found.refusals_changed) == (None, None)
    assert "distances" not in found.differences()


def golden(**changes: Any) -> Golden:
    logits, distances = np.ones((2, 2), np.float32), np.array([1, 2], np.float32)
    found = Golden(
        pixels=np.zeros((2, 8, 8), np.uint8),
        labels=np.array([0, 1]),
        logits={FP32: logits, INT8: 2 * logits},
        of_runtimes={("openvino", INT8): 3 * logits},
        distances={FP32: distances, INT8: 2 * distances},
        distances_of_runtimes={("openvino", INT8): 3 * distances},
    )
    return replace(found, **changes)


def test_outputs_are_kept_by_precision_and_runtime(tmp_path: Path) -> None:
    write_golden(tmp_path / "g.npz", golden())
    found = read_file(tmp_path / "g.npz", [FP32, INT8], SPEC)
    for precision, backend, times in (
        (FP32, "onnxruntime", 1), (FP32, "openvino", 1), (INT8, "tensorrt", 2),
        (INT8, "openvino", 3),
    ):  # fmt: skip
        expected = found.expected(precision, backend)
        assert expected.logits[0, 0] == times
        assert expected.distances is not None
        assert expected.distances.tolist() == [times, 2 * times]


def test_a_runtime_without_distances_has_no_others(tmp_path: Path) -> None:
    write_golden(tmp_path / "g.npz", golden(distances={}, distances_of_runtimes={}))
    found = read_file(tmp_path / "g.npz", [FP32, INT8], SPEC)
    assert found.expected(INT8, "openvino").distances is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.ones((2, 1), np.float32), r"expected distances float32 \(2,\), found float32 \(2, 1\)"),
        (np.ones(2), r"expected distances float32 \(2,\), found float64"),
        (np.array([1, np.inf], np.float32), "expected finite distances"),
        (np.array([1, -1], np.float32), "expected distances of at least 0, found -1"),
    ],
)
def test_distances_that_do_not_fit_are_refused(
    values: np.ndarray, words: str, tmp_path: Path
) -> None:
    write_golden(tmp_path / "g.npz", golden(distances={FP32: values}))
    with pytest.raises(ArtifactError, match=words):
        read_file(tmp_path / "g.npz", [FP32, INT8], SPEC)


Change = Callable[[Outputs], Outputs]


def farther(found: Outputs) -> Outputs:
    assert found.distances is not None
    return replace(found, distances=found.distances * np.float32(1.2))


def shifted(found: Outputs) -> Outputs:
    assert found.maps is not None
    return replace(found, maps=found.maps * np.float32(1.5))


@pytest.mark.parametrize(
    ("change", "words"),
    [(farther, "distances change by up to 20.0%"), (shifted, "heatmaps differ from the logits by")],
)
def test_a_machine_with_other_outputs_is_refused(
    change: Change, words: str, bundle: Path, cxredge: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = cxredge("verify", bundle)
    assert passed.code == 0
    assert "largest distance change  changed refusals" in passed.out
    run = OnnxRuntimeSession.run
    monkeypatch.setattr(OnnxRuntimeSession, "run", lambda *given: change(run(*given)))
    verified = cxredge("verify", bundle, "--json")
    assert verified.code == 3
    assert words in verified.err
    assert verified.json["passed"] is False
    deployed = cxredge("deploy", bundle)
    assert deployed.code == 3
    assert "does not reproduce the build: of 12 golden images" in deployed.err
    assert words in deployed.err


def test_the_golden_images_of_a_build_hold_what_its_models_return(bundle: Path) -> None:
    opened = open_bundle(bundle)
    found = read_golden(opened)
    assert set(found.distances) == set(found.logits) == set(opened.precisions)
    for precision in opened.precisions:
        with opened.open(precision) as session:
            returned = session.run(found.pixels)
        assert returned.distances == pytest.approx(found.distances[precision], rel=1e-3)
