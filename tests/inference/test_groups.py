"""Answers by group, on images whose right answer is known by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxredge.data.manifest import Entry
from cxredge.inference.groups import (
    NOT_STATED,
    OTHER_CLASSES,
    Seen,
    age_band,
    answered,
    by_group,
    called_by_source,
    within_sources,
)
from cxredge.metrics.classification import wilson
from cxredge.results.answered import several_sources
from cxredge.vocabulary import Split

CLASSES = ("a", "b")


def row(label: str, source: str, number: int, **more: str) -> Entry:
    split = Split.TEST if label else Split.CONTROL
    return Entry(Path(f"{number}.png"), label, f"p{number}", source, split=split, **more)


def seen(
    entries: list[Entry], of_a: list[float], refused: list[int] | None = None, fp32: object = None
) -> Seen:
    """Return images with their probability of class ``a``."""
    labels = np.array([CLASSES.index(e.label) if e.label else -1 for e in entries])
    away = None if refused is None else np.isin(np.arange(len(entries)), refused)
    return Seen(
        entries, labels, np.column_stack([of_a, 1 - np.array(of_a)]), away,
        away if fp32 is None else np.array(fp32),
    )  # fmt: skip


ENTRIES = [
    row("a", "x", 0, sex="Male", age="12"),
    row("a", "x", 1, sex="f", age="034Y"),
    row("b", "x", 2, sex="F", view="PA"),
    row("b", "y", 3, age="85"),
]


def test_refusals_are_counted_by_class_and_source() -> None:
    found = answered(seen(ENTRIES, [0.9, 0.1, 0.2, 0.3], [1, 3], [0, 1, 0, 0]), CLASSES)
    assert found is not None
    assert (found.refused, found.refused_fp32, found.alike, found.right) == (2, 1, 3, 2)
    assert (found.accuracy_answered, found.accuracy_answered_ci95) == (1.0, wilson(2, 2))
    assert {n: (r.images, r.refused) for n, r in found.by_class.items()} == {
        "a": (2, 1),
        "b": (2, 1),
    }
    assert {n: (r.images, r.refused) for n, r in found.by_source.items()} == {
        "x": (3, 1),
        "y": (1, 1),
    }
    none_left = answered(seen(ENTRIES, [0.9] * 4, [0, 1, 2, 3]), CLASSES)
    assert none_left is not None
    assert none_left.accuracy_answered is None
    assert answered(seen(ENTRIES, [0.9] * 4), CLASSES) is None


def test_accuracy_by_group_counts_every_image_once() -> None:
    found = by_group(seen(ENTRIES, [0.9, 0.1, 0.2, 0.3], [3]), CLASSES)
    assert {name: list(groups) for name, groups in found.items()} == {
        "source": ["x", "y"],
        "sex": ["F", "M", NOT_STATED],
        "age": ["0-17", "18-39", "80 and over", NOT_STATED],
        "view": ["PA", NOT_STATED],
    }
    x = found["source"]["x"]
    assert (x.images, x.patients, x.right, x.refused) == (3, 3, 2, 0)
    assert (x.accuracy, x.accuracy_ci95) == (2 / 3, wilson(2, 3))
    assert x.classes == {"a": 2, "b": 1}
    assert found["source"]["y"].refused == 1
    for groups in found.values():
        assert sum(group.images for group in groups.values()) == 4


def test_images_of_a_class_are_counted_by_source_and_answer() -> None:
    found = called_by_source(seen(ENTRIES, [0.9, 0.1, 0.2, 0.8], [3]), CLASSES)
    counts = [(one.class_name, one.source, one.called) for one in found]
    assert counts == [
        ("a", "x", {"a": 1, "b": 1}),
        ("b", "x", {"a": 0, "b": 1}),
        ("b", "y", {"a": 1, "b": 0}),
    ]
    assert [one.source for one in several_sources(found)] == ["x", "y"]


def test_properties_that_no_image_states_are_left_out() -> None:
    assert list(by_group(seen([row("a", "x", 0)], [0.9]), CLASSES)) == ["source"]


@pytest.mark.parametrize(
    ("age", "band"),
    [
        ("0", "0-17"), ("17.9", "0-17"), ("18", "18-39"), ("40", "40-59"), ("79", "60-79"),
        ("80", "80 and over"), ("045Y", "40-59"), ("006M", "0-17"), ("300M", "18-39"),
        (" 65 years", "60-79"), ("", NOT_STATED), ("adult", NOT_STATED),
    ],
)  # fmt: skip
def test_ages_are_put_into_bands(age: str, band: str) -> None:
    assert age_band(age) == band


def test_classes_are_told_from_others_of_their_own_source_only() -> None:
    """Source x has both classes and controls, source y one class alone."""
    controls = [row("", "x", n, finding="mass") for n in range(10, 14)]
    controls += [row("", "z", 20, finding="mass")]
    of_classes = seen(ENTRIES, [0.9, 0.6, 0.7, 0.0])
    of_controls = seen(controls, [0.9, 0.8, 0.7, 0.6, 0.1])
    found = within_sources(of_classes, of_controls, CLASSES)
    assert [(f.source, f.class_name, f.against, f.images, f.others) for f in found] == [
        ("x", "a", OTHER_CLASSES, 2, 1),
        ("x", "a", "mass", 2, 4),
        ("x", "b", OTHER_CLASSES, 1, 2),
        ("x", "b", "mass", 1, 4),
    ]
    assert found[0].auroc == 0.5
    assert found[1].auroc == pytest.approx((3.5 + 0.5) / 8)
    low, high = found[1].auroc_ci95
    assert low is not None
    assert high is not None
    assert 0 <= low <= found[1].auroc <= high <= 1
    assert within_sources(of_classes, None, CLASSES) == (found[0], found[2])
