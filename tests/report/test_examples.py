"""Examples of a report: from golden images, and from a manifest or a folder."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxredge.bundle.bundle import Bundle
from cxredge.data.manifest import read_manifest, write_manifest
from cxredge.errors import ArtifactError, CxredgeError
from cxredge.report import reported_bundle, write_report
from cxredge.report.blocks import Examples
from cxredge.report.example_files import candidates
from cxredge.report.examples import examples_section
from cxredge.vocabulary import Precision, Split
from tests.report.sample_bundles import CLASSES, SECRET_FOLDER, SIZE


@pytest.fixture
def reported(bundles):
    (found,), _ = reported_bundle.read_bundles([bundles / "first"])
    return found


@pytest.fixture
def manifest(made, tmp_path) -> Path:
    """Test images, and pictures of waves as controls."""
    entries = read_manifest(made / "data" / "manifest.csv").of(Split.TEST)
    others = []
    for number in range(4):
        path = tmp_path / f"other-{number}.png"
        rows, columns = np.mgrid[:SIZE, :SIZE]
        pixels = (127 + 120 * np.sin(rows / (2 + number)) * np.cos(columns / 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path)
        control = replace(
            entries[0],
            path=path,
            label="",
            patient=f"p{number}",
            split=Split.CONTROL,
            finding="other body part",
        )
        others.append(control)
    return write_manifest(tmp_path / "examples.csv", [*entries, *others]).path


def shown(section) -> list:
    return [
        one for block in section.blocks if isinstance(block, Examples) for one in block.examples
    ]


def test_at_most_three_of_each_outcome_with_their_heatmaps(reported):
    found = shown(examples_section(reported, True, None))
    outcomes = [one.outcome for one in found]
    assert outcomes == sorted(outcomes, key=("right", "wrong", "refused").index)
    assert outcomes.count("right") == 3
    assert max(map(outcomes.count, outcomes)) <= 3
    for one in found:
        assert (one.outcome == "right") == (one.truth == one.predicted) or one.outcome == "refused"
        assert one.png
        assert one.heatmap_png
        assert "heatmap: " in one.details


def test_outcomes_are_those_of_the_golden_outputs(reported):
    with np.load(reported.bundle.path / "golden.npz") as golden:
        labels, decided = golden["labels"], golden["logits_int8"].argmax(1)
    found = shown(examples_section(reported, True, None))
    right, wrong = ([one.truth for one in found if one.outcome == o] for o in ("right", "wrong"))
    for truths, chosen in ((right, labels == decided), (wrong, labels != decided)):
        names = [CLASSES[i] for i in labels[chosen]]
        assert len(truths) <= len(names)
        assert set(truths) <= set(names)
        # From each class in turn.
        assert len(set(truths)) == min(len(truths), len(set(names)))


def test_more_are_taken_from_a_manifest_classes_before_controls(reported, manifest):
    section = examples_section(reported, True, manifest)
    outcomes = [one.outcome for one in shown(section)]
    assert outcomes.count("right") == outcomes.count("wrong") == 3
    assert all(one.truth in CLASSES for one in shown(section) if one.outcome == "wrong")
    assert "--examples" in section.blocks[0].note


def test_a_folder_names_no_person(reported, made, tmp_path):
    folder = tmp_path / "folder"
    shutil.copytree(made / "data" / SECRET_FOLDER, folder / SECRET_FOLDER)
    section = examples_section(reported, True, folder)
    assert SECRET_FOLDER not in str(section)
    assert {one.truth for one in shown(section)} <= {*CLASSES, "not stated"}


def test_without_pictures_nothing_runs(reported, monkeypatch):
    monkeypatch.setattr(Bundle, "open", lambda *_: pytest.fail("opened"))
    section = examples_section(reported, False, None)
    assert not shown(section)
    assert "--no-images" in str(section)


def test_golden_images_that_were_deleted(reported):
    (reported.bundle.path / "golden.npz").unlink()
    assert "--examples MANIFEST" in str(examples_section(reported, True, None))


def test_engine_of_another_machine(reported, manifest, monkeypatch):
    """The heatmaps are then FP32's in ONNX Runtime, and without it there are none."""
    real = Bundle.open

    def only_fp32(bundle, precision=None, *rest):
        if precision is not Precision.FP32:
            raise ArtifactError("No TensorRT here.")
        return real(bundle, precision, *rest)

    def nothing(bundle, precision=None, *rest):
        raise ArtifactError("No runtime here.")

    expected = [one.outcome for one in shown(examples_section(reported, True, None))]
    for opening, words, maps in (
        (only_fp32, "the heatmaps are those of FP32", True),
        (nothing, "this machine runs no model", False),
    ):
        monkeypatch.setattr(Bundle, "open", opening)
        section = examples_section(reported, True, manifest)
        found = shown(section)
        assert [one.outcome for one in found] == expected
        assert all(bool(one.heatmap_png) is maps for one in found)
        assert words in section.blocks[0].note
        assert "were left out" in section.blocks[0].note


def test_examples_that_do_not_exist(bundles, tmp_path):
    with pytest.raises(CxredgeError, match=r"nowhere does not exist\."):
        write_report([bundles / "first"], bundles / "r.html", True, tmp_path / "nowhere")
    assert not (bundles / "r.html").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(CxredgeError, match="holds no X-rays"):
        candidates(tmp_path / "empty", CLASSES)
