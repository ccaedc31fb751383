"""Prediction sets of an evaluation: those that predict writes, for answered images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxredge.backends.base import Outputs
from cxredge.bundle.bundle import Bundle, open_bundle
from cxredge.bundle.operating_point import OperatingPoint
from cxredge.inference.coverage import measure_coverage
from cxredge.metrics.classification import wilson
from cxredge.vocabulary import Precision
from tests.conftest import Run
from tests.predictions import read_rows

NEVER, ALWAYS = 0.0, 1.0


def with_points(bundle: Bundle, **by_precision: dict[str, Any]) -> Bundle:
    """Return a bundle with other operating points in the runtime that serves."""
    thresholds = bundle.thresholds
    points = {Precision(p): OperatingPoint(thresholds, **v) for p, v in by_precision.items()}
    facts = replace(bundle.card.facts, operating_points={bundle.backend: points})
    return replace(bundle, card=replace(bundle.card, facts=facts), precision=Precision.INT8)


@pytest.fixture
def opened(built: Path) -> Bundle:
    return open_bundle(built)


def test_the_sets_are_those_that_predict_writes(
    built: Path, phantoms: Path, tmp_path: Path, cxredge: Run
) -> None:
    found = cxredge("evaluate", built, phantoms / "manifest.csv", "--out", tmp_path / "e.json",
                    "--json").json["coverage"]  # fmt: skip
    folder = phantoms / "images"
    cxredge("predict", built, folder, "--out", tmp_path / "p.csv")
    tested = {
        Path(row["path"]).name: row["label"]
        for row in read_rows(phantoms / "manifest.csv")
        if row["split"] == "test"
    }
    rows = [r for r in read_rows(tmp_path / "p.csv") if Path(r["path"]).name in tested]
    answered = [(tested[Path(r["path"]).name], r["set"].split("|")) for r in rows if r["label"]]
    assert (found["target"], found["images"]) == (0.9, len(answered))
    assert found["covered"] == sum(label in classes for label, classes in answered)
    assert found["single"] == sum(len(classes) == 1 for _, classes in answered)
    assert found["mean_size"] == pytest.approx(np.mean([len(c) for _, c in answered]))
    for name, row in found["by_class"].items():
        of_class = [classes for label, classes in answered if label == name]
        covered = sum(name in classes for classes in of_class)
        assert (row["images"], row["covered"]) == (len(of_class), covered)
        assert row["coverage_ci95"] == pytest.approx(wilson(covered, len(of_class)))
    assert all(row["set"] == "" for row in rows if not row["label"])


def test_the_terminal_says_what_the_sets_cover(
    built: Path, phantoms: Path, tmp_path: Path, cxredge: Run
) -> None:
    said = cxredge("evaluate", built, phantoms / "manifest.csv", "--out", tmp_path / "e.json").out
    assert "Prediction sets for 90% coverage contain the class of " in said
    assert " classes on average; " in said


def test_near_ties_have_the_sets_and_the_limit_of_fp32(opened: Bundle) -> None:
    classes = opened.card.classifier.classes
    bundle = with_points(
        opened,
        fp32={"set_levels": dict.fromkeys(classes, ALWAYS), "max_distance": 2.0},
        int8={"set_levels": dict.fromkeys(classes, NEVER), "max_distance": 1.0},
    )
    logits = np.tile(np.array([3, 2, 1, 0], np.float32), (4, 1))
    distances, near = np.array([0.5, 0.5, 1.5, 1.5], np.float32), np.array([1, 0, 1, 0], bool)
    labels = np.array([0, 1, 2, 3])
    found = measure_coverage(bundle, Outputs(logits, distances, None, near), labels)
    assert found is not None
    # Of the two unfamiliar images for INT8, FP32 answers the near tie.
    assert (found.images, found.covered, found.classes_in_sets) == (3, 2, 4 + 1 + 4)
    assert [row.images for row in found.by_class.values()] == [1, 1, 1, 0]
    assert [row.coverage for row in found.by_class.values()] == [1.0, 0.0, 1.0, None]
    alone = measure_coverage(bundle, Outputs(logits, distances), labels)
    assert alone is not None
    assert (alone.images, alone.covered, alone.single) == (2, 1, 2)


def test_a_bundle_without_sets_has_no_coverage(opened: Bundle) -> None:
    none = with_points(opened, fp32={}, int8={})
    assert measure_coverage(none, Outputs(np.zeros((1, 4), np.float32)), np.array([0])) is None
    older = replace(opened.card.config, set_coverage=None)
    bundle = replace(opened, card=replace(opened.card, config=older))
    assert measure_coverage(bundle, Outputs(np.zeros((1, 4), np.float32)), np.array([0])) is None
