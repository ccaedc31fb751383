"""Every answer uses the limits of the precision that decided it, in the runtime that serves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cxredge import api
from cxredge.backends.base import Outputs
from cxredge.bundle.bundle import Bundle, open_bundle
from cxredge.bundle.operating_point import OperatingPoint
from cxredge.data.images import load_xray
from cxredge.data.manifest import Manifest
from cxredge.data.phantoms import render_phantom
from cxredge.errors import Caution
from cxredge.inference.answers import (
    ANSWER_FAMILIAR,
    PredictionOptions,
    PredictionRow,
    answer_of,
)
from cxredge.inference.evaluate import evaluate
from cxredge.progress import Silent
from cxredge.vocabulary import Precision, Split

SIZE = 64
HIGH, LOW = 0.9, 0.1


@pytest.fixture
def opened(built: Path) -> Bundle:
    """INT8 serves in OpenVINO: every runtime and precision has limits of its own."""
    bundle = open_bundle(built)
    classes = bundle.card.classifier.classes

    def point(threshold: float, limit: float, level: float) -> OperatingPoint:
        every = dict.fromkeys(classes, threshold)
        return OperatingPoint(every, limit, dict.fromkeys(classes, level))

    points = {
        "onnxruntime": {Precision.FP32: point(HIGH, 9, 0.0), Precision.INT8: point(HIGH, 9, 0.0)},
        "openvino": {Precision.FP32: point(LOW, 4, 1.0), Precision.INT8: point(0.3, 2, 0.5)},
    }
    card = replace(bundle.card, facts=replace(bundle.card.facts, operating_points=points))
    return replace(bundle, card=card, precision=Precision.INT8, backend="openvino", passport=None)


def answer(
    bundle: Bundle,
    distance: float,
    near: bool | None = None,
    options: PredictionOptions = ANSWER_FAMILIAR,
) -> PredictionRow:
    """Return the row of an image with the probabilities 0.4, 0.3, 0.2 and 0.1."""
    picture = render_phantom("normal", 0, 0, SIZE)
    logits = np.log(np.array([[0.4, 0.301, 0.2, 0.099]], np.float32))
    outputs = Outputs(
        logits, np.array([distance], np.float32), None, None if near is None else np.array([near])
    )
    return answer_of(bundle, picture, load_xray(picture, SIZE), outputs, 0, options)


def test_the_runtime_and_precision_that_serve_decide(opened: Bundle) -> None:
    row, classes = answer(opened, 1.0), opened.card.classifier.classes
    assert (row.above_threshold, row.prediction_set) == (classes[:2], classes[:2])
    assert row.familiarity == pytest.approx(2.0)
    in_first = answer(replace(opened, backend="onnxruntime"), 1.0)
    assert (in_first.above_threshold, in_first.prediction_set) == ((), classes[:1])
    assert in_first.familiarity == pytest.approx(9.0)


def test_a_near_tie_has_the_limits_of_fp32(opened: Bundle) -> None:
    classes = opened.card.classifier.classes
    near, clear = answer(opened, 3.0, near=True), answer(opened, 3.0, near=False)
    assert (near.decided_by, near.status, near.prediction_set) == ("fp32", "ok", classes)
    assert near.above_threshold == classes[:3]
    assert near.familiarity == pytest.approx(4 / 3)
    assert (clear.decided_by, clear.status, clear.prediction_set) == ("int8", "unfamiliar", ())
    assert clear.familiarity == pytest.approx(2 / 3)
    assert (clear.label, clear.above_threshold, clear.probability) == ("", (), None)
    assert sum(clear.probabilities.values()) == pytest.approx(1)


def test_an_unfamiliar_image_has_a_set_if_it_is_answered_all_the_same(opened: Bundle) -> None:
    row = answer(opened, 3.0, options=PredictionOptions(answer_all=True))
    assert row.status == "ok"
    assert row.prediction_set == opened.card.classifier.classes[:2]
    assert row.caution_codes[-1] is Caution.UNFAMILIAR


@pytest.mark.parametrize("distance", [1.9999999, 2.0, 2.0000002])
def test_rounding_does_not_move_an_image_over_the_limit(distance: float, opened: Bundle) -> None:
    row = answer(opened, distance)
    inside = np.float32(distance) <= 2
    assert (row.status == "ok") == inside
    assert row.familiarity is not None
    assert (row.familiarity >= 1) == inside


def test_the_python_interface_has_the_thresholds_that_serve(opened: Bundle) -> None:
    model = object.__new__(api.Model)
    model._bundle = opened
    assert set(model.thresholds.values()) == {0.3}


def test_evaluate_uses_the_thresholds_that_serve(built: Path, manifest: Manifest) -> None:
    bundle = replace(open_bundle(built), precision=Precision.INT8)
    own = bundle.operating_point()
    other = replace(own, thresholds=dict.fromkeys(own.thresholds, 0.123))
    points = {bundle.backend: {Precision.FP32: bundle.operating_point(Precision.FP32),
                               Precision.INT8: other}}  # fmt: skip
    card = replace(bundle.card, facts=replace(bundle.card.facts, operating_points=points))
    found = evaluate(replace(bundle, card=card), manifest, Split.TEST, Silent())
    assert {row.threshold for row in found.by_class.values()} == {0.123}
