"""What is said of controls, on counts known by hand."""

from dataclasses import replace

import numpy as np
import pytest

from cxredge.artifacts.records import from_json, to_json
from cxredge.metrics.classification import wilson
from cxredge.metrics.controls import (
    ControlImages,
    ControlKind,
    contradictions,
    control_sentence,
    control_sentences,
    measure_controls,
    objections,
    own_classes,
)

CLASSES = ("covid19", "normal", "viral")
SOURCES = {"covid19": {"cohen"}, "normal": {"kermany"}, "viral": {"kermany"}}


def kind(
    called: dict[str, int],
    refused: int = 0,
    sources: tuple[str, ...] = ("cohen",),
    name: str = "other finding",
) -> ControlKind:
    """Measure controls of one kind, of which so many are called each class and so many refused."""
    decisions = [CLASSES.index(n) for n, number in called.items() for _ in range(number)]
    total = len(decisions) + refused
    images = ControlImages(
        [name] * total, [sources[n % len(sources)] for n in range(total)], SOURCES
    )
    away = np.arange(total) >= len(decisions)
    found = measure_controls(images, np.array([*decisions, *[0] * refused]), away, CLASSES)
    return found[name]


def test_kinds_are_counted_apart() -> None:
    images = ControlImages(["ct", "lateral", "ct", "ct"], ["s", "s", "t", "s"], {"a": {"s"}})
    found = measure_controls(images, np.array([0, 1, 1, 0]), np.array([1, 0, 0, 0], bool), "ab")
    assert list(found) == ["ct", "lateral"]
    ct = found["ct"]
    assert (ct.images, ct.refused, ct.answered, ct.rate) == (3, 1, 2, 2 / 3)
    assert ct.called == {"a": 1, "b": 1}
    assert ct.called_if_answered == {"a": 2, "b": 1}
    assert ct.sources == {"s": 2, "t": 1}
    assert ct.refused_ci95 == wilson(1, 3)
    assert ct.called_ci95 == {"a": wilson(1, 3), "b": wilson(1, 3)}
    everything = measure_controls(images, np.array([0, 1, 1, 0]), None, "ab")
    assert everything["ct"].refused == 0
    assert from_json(to_json(ct), ControlKind, "x", "") == ct


def test_a_control_that_is_called_other_is_right() -> None:
    classes, sources = (*CLASSES, "other"), {**SOURCES, "other": {"cohen", "adults"}}
    images = ControlImages(["ct"] * 10, ["cohen"] * 10, sources)
    found = measure_controls(images, np.array([3] * 9 + [0]), None, classes)["ct"]
    assert (found.answered, found.rate, found.own_classes) == (1, 0.1, ("covid19",))
    assert objections({"ct": found}) == []
    assert control_sentence("ct", found) == (
        "Of 10 CT slices from covid19's own source, 1 (2-40%) is called covid19, 9 (60-98%) are "
        "called other."
    )
    assert own_classes({"adults"}, sources) == ()


def test_classes_are_of_the_own_source_unless_all_share_it() -> None:
    assert own_classes({"cohen"}, SOURCES) == ("covid19",)
    assert own_classes({"kermany"}, SOURCES) == ("normal", "viral")
    assert own_classes({"adults"}, SOURCES) == ()
    assert own_classes({"cohen", "kermany"}, SOURCES) == ()
    assert own_classes({"x"}, {"a": {"x"}, "b": {"x"}}) == ()


@pytest.mark.parametrize(
    ("found", "name", "sentence"),
    [
        (
            kind({"covid19": 88}),
            "other finding",
            "Of 88 X-rays from covid19's own source with other findings, 88 (96-100%) are called "
            "covid19: this network tells the source, not the disease.",
        ),
        (
            kind({"covid19": 60, "normal": 5}, 23),
            "other finding",
            "Of 88 X-rays from covid19's own source with other findings, 60 (58-77%) are called "
            "covid19; 23 are refused: this network tells the source, not the disease.",
        ),
        (
            kind({"covid19": 20, "viral": 30}, 38),
            "other finding",
            "Of 88 X-rays from covid19's own source with other findings, 20 (15-33%) are called "
            "covid19, 30 (25-44%) are called viral, 38 (33-54%) are refused.",
        ),
        (
            kind({}, 44),
            "lateral",
            "Of 44 lateral X-rays from covid19's own source, 44 (92-100%) are refused.",
        ),
        (
            kind({"covid19": 1, "normal": 219}, 9, ("adults",)),
            "adult no finding",
            "Of 229 X-rays of adults without a finding, 219 (92-98%) are called normal, 1 "
            "(0-2%) is called covid19, 9 (2-7%) are refused.",
        ),
    ],
)
def test_sentence_says_what_controls_are_called(
    found: ControlKind, name: str, sentence: str
) -> None:
    assert control_sentence(name, found) == sentence


def test_the_worst_sentence_comes_first() -> None:
    controls = {
        "adult": kind({"covid19": 100}, 0, ("adults",)),
        "ct": kind({}, 50),
        "other finding": kind({"covid19": 70}, 30),
    }
    first, second, third = control_sentences(controls)
    assert "tells the source" in first
    assert "'adult'" in second
    assert "CT slices" in third
    assert control_sentences({}) == []


GOOD = kind({"covid19": 60, "normal": 5}, 23)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (replace(GOOD, refused=24), "called a class or refused are not 88"),
        (replace(GOOD, images=89), "called a class or refused are not 89"),
        (replace(GOOD, called={"covid19": 61, "normal": 4}), "interval of the controls"),
        (replace(GOOD, sources={"cohen": 80}), "sources of the controls"),
        (replace(GOOD, called_if_answered={"covid19": 88}), "other classes than they are"),
        (replace(GOOD, refused_ci95=(0.0, 1.0)), "that are refused is not"),
        (replace(GOOD, called_ci95={}), "interval of the controls"),
    ],
)
def test_a_contradiction_is_found(found: ControlKind, words: str) -> None:
    assert list(contradictions({"ct": GOOD})) == []
    assert words in "; ".join(contradictions({"ct": found}))
