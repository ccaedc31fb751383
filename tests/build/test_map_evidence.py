"""The agreement of heatmaps on a bundle's card, in the output of build and in the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxredge.artifacts.records import to_json
from cxredge.backends.batched import run_file
from cxredge.bundle.bundle import open_bundle
from cxredge.cli.gate import gate_text
from cxredge.data.loading import load_pixels
from cxredge.data.manifest import Manifest
from cxredge.vocabulary import Precision, Split


def test_the_card_states_how_far_maps_agree(built: Path, manifest: Manifest) -> None:
    bundle = open_bundle(built)
    found = bundle.card.facts.gate[Precision.INT8].maps
    pixels = load_pixels(manifest.of(Split.TEST), bundle.card.classifier.input_size)
    one, other = (run_file(bundle.model_of(p), pixels) for p in (Precision.FP32, Precision.INT8))
    assert found is not None
    assert one.maps is not None
    assert other.maps is not None
    decided = one.logits.argmax(axis=1)
    expected = [
        np.corrcoef(one.maps[n, c].ravel(), other.maps[n, c].ravel())[0, 1]
        for n, c in enumerate(decided)
    ]
    assert found.images == len(pixels)
    assert found.correlation == pytest.approx(np.mean(expected), abs=1e-3)
    assert 0.5 < found.peaks_kept <= 1
    fp32 = bundle.card.facts.gate[Precision.FP32].maps
    assert fp32 is not None
    assert (fp32.correlation, fp32.peaks_kept) == (pytest.approx(1), 1)


def test_build_and_report_show_it(built: Path, tmp_path: Path, cxredge) -> None:
    gate = open_bundle(built).card.facts.gate[Precision.INT8]
    assert gate.maps is not None
    stated = f"{gate.maps.correlation:.3f}"
    text = gate_text(to_json(gate), "INT8")
    assert f"Heatmaps of INT8: their mean correlation with FP32's is {stated}" in text
    page = tmp_path / "report.md"
    assert cxredge("report", built, "--no-images", "--out", page).code == 0
    assert f"decides correlate with those of FP32 by {stated}" in page.read_text()


def test_the_card_states_where_cells_lie(built: Path) -> None:
    grid = open_bundle(built).card.facts.map_grid
    assert grid is not None
    assert (grid.size, grid.stride, grid.top, grid.left) == (64, 2, 0, 0)


def test_evaluate_states_agreement_and_evidence_in_the_border(
    bundle: Path, phantoms: Path, manifest: Manifest, cxredge
) -> None:
    found = cxredge("evaluate", bundle, phantoms / "manifest.csv", "--json").json
    assert found["heatmaps_fp32"]["images"] == found["images"]
    rows = found["border_evidence"]
    assert [row["label"] for row in rows] == sorted(manifest.classes)
    assert sum(row["images"] for row in rows) <= found["images"]
    for row in rows:
        low, high = row["share_ci95"]
        assert 0 <= low <= row["share"] <= high <= 1
        assert row["uniform"] == 0.4375
    text = cxredge("evaluate", bundle, phantoms / "manifest.csv").out
    assert "Evidence for the decided class in the outer eighth of the picture" in text
    assert "Heatmaps: their mean correlation with FP32's" in text
    page = bundle.parent / "report.md"
    assert cxredge("report", bundle, "--no-images", "--out", page).code == 0
    assert "Evidence in the border of the picture" in page.read_text()
    assert "A uniform heatmap has 43.8% there" in page.read_text()
