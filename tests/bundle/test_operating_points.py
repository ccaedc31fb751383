"""Operating points on a card: they fit the classes, the gate, the settings and the models."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from benchmarks.campaign.tampered import bind, replace_file
from cxredge.artifacts.card import read_card
from cxredge.bundle.bundle import Bundle, open_bundle
from cxredge.bundle.card import BundleCard
from cxredge.errors import ArtifactError
from cxredge.vocabulary import DISTANCE_NAME, MAPS_NAME, Precision
from tests.conftest import Run

Json = dict[str, Any]
Edit = Callable[[Json], object]


def point(card: Json, precision: str = "int8") -> Json:
    found: Json = card["facts"]["operating_points"]["onnxruntime"][precision]
    return found


EDITS: list[tuple[Edit, str]] = [
    (
        lambda c: point(c).update(max_distance=-1),
        "max_distance': Expected `float` >= 0.0, found -1",
    ),
    (lambda c: point(c).update(max_distance="far"), "max_distance': Expected `float"),
    (
        lambda c: point(c)["set_levels"].update(normal=1.5),
        "set_levels.normal': Expected `float` <= 1",
    ),
    (
        lambda c: point(c)["thresholds"].update(normal=-1),
        "thresholds.normal': Expected `float` >= 0",
    ),
    (
        lambda c: point(c)["set_levels"].pop("viral"),
        "Expected set levels of int8 in 'onnxruntime' for",
    ),
    (
        lambda c: point(c)["thresholds"].update(x=0.5),
        "Expected thresholds of int8 in 'onnxruntime' for",
    ),
    (
        lambda c: point(c)["thresholds"].update(normal=0.123),
        "the operating point of int8 in onnxruntime has other thresholds than its gate",
    ),
    (
        lambda c: point(c).update(max_distance=None),
        "the operating point of int8 in onnxruntime and the familiar share are not both present",
    ),
    (
        lambda c: c["config"].update(familiar_share=None),
        "the operating point of fp32 in onnxruntime and the familiar share are not both present",
    ),
    (
        lambda c: point(c, "fp32").update(set_levels={}),
        "the operating point of fp32 in onnxruntime has not the set levels that its coverage",
    ),
    (
        lambda c: c["facts"]["operating_points"]["onnxruntime"].pop("int8"),
        "onnxruntime has not the same precisions in its gate and operating points",
    ),
    (
        lambda c: c["facts"]["operating_points"].update(
            openvino=c["facts"]["operating_points"]["onnxruntime"]
        ),
        "the gate compared other runtimes than the operating points are for",
    ),
    (
        lambda c: c["facts"].update(operating_points={}),
        "it has no operating points, but shares that they are derived for",
    ),
]


@pytest.mark.parametrize(("edit", "words"), EDITS, ids=range(len(EDITS)))
def test_an_edited_operating_point_is_refused(edit: Edit, words: str, bundle: Path) -> None:
    bind(bundle, edit)
    with pytest.raises(ArtifactError, match=re.escape(words)):
        read_card(bundle, BundleCard)


def test_a_card_of_an_earlier_version_has_the_thresholds_of_its_gate(bundle: Path) -> None:
    def older(card: Json) -> None:
        card["facts"].pop("operating_points")
        for key in ("familiar_share", "set_coverage", "heatmaps"):
            card["config"].pop(key)

    bind(bundle, older)
    opened = Bundle(bundle, read_card(bundle, BundleCard), None, Precision.INT8)
    found = opened.operating_point()
    assert found.thresholds == opened.card.facts.thresholds[Precision.INT8]
    assert (found.max_distance, found.set_levels) == (None, {})


def without(bundle: Path, output: str) -> bytes:
    """Return the INT8 model of a bundle without one of its outputs."""
    model = onnx.load(bundle / "model-int8.onnx")
    (place,) = [n for n, value in enumerate(model.graph.output) if value.name == output]
    del model.graph.output[place]
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (DISTANCE_NAME, "returns no distance, but its card states a largest distance of "),
        (MAPS_NAME, "returns no maps, but its card states that it was built with heatmaps"),
    ],
)
def test_a_model_without_an_output_of_its_card_never_answers(
    output: str, words: str, bundle: Path, phantoms: Path, tmp_path: Path, cxredge: Run
) -> None:
    replace_file(bundle, "model-int8.onnx", without(bundle, output))
    opened = replace(open_bundle(bundle), precision=Precision.INT8)
    for load in (opened.open, lambda: opened.open(Precision.INT8), opened.open_for_many):
        with pytest.raises(ArtifactError, match=words):
            load()
    assert cxredge("verify", bundle).code == 1
    out = tmp_path / "p.csv"
    ran = cxredge("deploy", bundle, "--precision", "int8")
    assert ran.code == 1
    assert words in ran.err
    ran = cxredge("predict", bundle, phantoms / "images", "--out", out)
    assert out.exists() == (ran.code == 0)
    if ran.code == 0:
        assert open_bundle(bundle).precision is Precision.FP32


def test_a_distance_without_a_limit_is_refused(bundle: Path) -> None:
    def forget(card: Json) -> None:
        card["config"].update(familiar_share=None)
        for precision in ("fp32", "int8"):
            point(card, precision).update(max_distance=None)

    bind(bundle, forget)
    with pytest.raises(
        ArtifactError, match="returns a distance, but its card states no limit of it"
    ):
        open_bundle(bundle).open()
