"""Decisions of several trainings, pooled."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.int8_trainings import pool

PATIENTS = ["a", "a", "b", "c"]


def gate(*flipped: tuple[int, str, str, str], auroc: float = 0.0) -> dict[str, Any]:
    """Return a gate's values; flipped images by index, class, and FP32's and INT8's decision."""
    names = ("index", "label", "fp32", "now")
    return {
        "images": len(PATIENTS),
        "flipped": [dict(zip(names, image, strict=True)) for image in flipped],
        "checks": [
            {"measure": "accuracy", "difference": 1.0},
            {"measure": "auroc", "difference": 0.001},
            {"measure": "auroc", "difference": auroc},
        ],
        "near_ties": {"share": 0.25, "expected_flips": 0.5},
        "logit_error": 0.01,
        "cascade": False,
    }


def test_each_image_of_each_training_is_a_decision() -> None:
    lost, gained, neither = (
        (0, "viral", "viral", "normal"),
        (3, "viral", "normal", "viral"),
        (2, "viral", "normal", "covid19"),
    )
    found = pool({"1": gate(lost, auroc=-0.01), "2": gate(gained, neither), "3": gate()}, PATIENTS)
    assert (found["decisions"], found["flipped"]) == (12, [1, 2, 0])
    assert found["expected_flips"] == [0.5] * 3
    assert found["agreement"] == pytest.approx(9 / 12)
    assert found["accuracy_differences"] == [-0.25, 0.25, 0.0]
    assert found["accuracy_difference"] == 0
    low, high = found["accuracy_difference_ci95"]
    # Patient a lost one of two images in one of three trainings, c gained one in one.
    assert (low, high) == pytest.approx((-1 / 6, 1 / 3), abs=1e-5)
    assert found["auroc_difference"] == pytest.approx(-0.01 / 3)
    assert found["auroc_differences"] == [-0.01, 0.001, 0.001]


def test_another_test_split_is_refused() -> None:
    with pytest.raises(SystemExit, match="2 was compared on 5 images, not 4"):
        pool({"1": gate(), "2": gate() | {"images": 5}}, PATIENTS)
