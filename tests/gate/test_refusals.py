"""Refusals and controls in the gate, on counts known by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cxredge.artifacts.derived import differences
from cxredge.artifacts.records import from_json, to_json
from cxredge.gate.consistency import contradictions
from cxredge.gate.fidelity import Measure
from cxredge.gate.gate import GateLimits, GateResult, compare, with_refusals
from cxredge.gate.limits import LimitCheck, LimitVerdict, RefusalLimits
from cxredge.gate.refusals import PairedControls, PairedRefusals, RefusalAgreement
from cxredge.metrics.classification import wilson
from cxredge.metrics.controls import ControlImages

CLASSES = ("sick", "well")
SOURCES = {"sick": {"here"}, "well": {"there"}}
IMAGES, CONTROLS = 100, 40


def judged(
    limits: RefusalLimits | None = None,
    refused: tuple[int, int] = (5, 5),
    controls: tuple[int, int] | None = (10, 10),
    alone: bool = False,
) -> GateResult:
    """Compare the same logits; FP32 and the candidate refuse the first so many images.

    Of the 40 controls, 30 CT slices and 10 laterals, they refuse the first so many too.
    """
    limits = limits or RefusalLimits()
    logits = np.eye(2)[np.arange(IMAGES) % 2] * 3
    patients = ["one"] * IMAGES if alone else [str(n) for n in range(IMAGES)]
    result = compare(logits, logits, np.arange(IMAGES) % 2, patients, GateLimits(), CLASSES)

    def first(count: int, of: int) -> np.ndarray:
        return np.arange(of) < count

    def pair(both: tuple[int, int], of: int, patients: list[str]) -> PairedRefusals:
        near = np.arange(of) == both[1] - 1  # the last one that the candidate refuses
        return PairedRefusals(first(both[0], of), first(both[1], of), near, patients)

    of_images = pair(refused, IMAGES, patients)
    if controls is None:
        return with_refusals(result, of_images, None, limits)
    kinds = ["ct"] * 30 + ["lateral"] * 10
    names = ["one"] * CONTROLS if alone else [f"c{n}" for n in range(CONTROLS)]
    away = pair(controls, CONTROLS, names)
    decisions = np.zeros(CONTROLS, int)
    paired = PairedControls(
        ControlImages(kinds, ["here"] * CONTROLS, SOURCES), names, CLASSES, decisions, decisions,
        away,
    )  # fmt: skip
    joined = PairedRefusals(
        np.concatenate([of_images.reference, away.reference]),
        np.concatenate([of_images.candidate, away.candidate]),
        np.concatenate([of_images.near, away.near]),
        [*patients, *names],
    )
    return with_refusals(result, joined, paired, limits)


def check_of(result: GateResult, measure: Measure, kind: str | None = None) -> LimitCheck:
    return next(c for c in result.checks if (c.measure, c.class_name) == (measure, kind))


def test_rate_of_each_kind_is_shown_without_a_limit() -> None:
    result = judged(controls=(10, 15))
    check = check_of(result, Measure.CONTROL_RATE, "ct")
    assert (check.fp32, check.candidate) == (20 / 30, 15 / 30)
    assert check.difference == pytest.approx(-5 / 30)
    assert check.ci95 is not None
    assert check.ci95[0] < -5 / 30 < check.ci95[1] < 0
    assert (check.limit, check.limit_text, check.verdict.value) == (None, "", "no limit")
    assert check_of(result, Measure.CONTROL_RATE, "lateral").candidate == 1.0
    assert result.passed
    assert result.controls["ct"].called == {"sick": 15, "well": 0}
    assert result.controls["ct"].own_classes == ("sick",)


def test_a_limit_refuses_the_worst_kind_by_name() -> None:
    result = judged(RefusalLimits(max_control_rate=0.9), controls=(10, 10))
    assert not result.passed
    assert result.refusal == "controls called a class: lateral 1.0000 (at most 0.9)"
    assert result.loosening == "--max-control-rate"
    assert judged(RefusalLimits(max_control_rate=1.0)).passed


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        (5, LimitVerdict.HELD),
        (9, LimitVerdict.HELD),
        (10, LimitVerdict.UNCLEAR),
        (30, LimitVerdict.REFUSED),
    ],
)
def test_refusals_are_compared_with_those_of_fp32(other: int, verdict: LimitVerdict) -> None:
    """The limit is 97% of 140 images: 4.2 may differ. Few more may be chance."""
    result = judged(refused=(5, other))
    check = check_of(result, Measure.REFUSAL_AGREEMENT)
    assert check.fp32 == 1.0
    assert check.candidate == pytest.approx(1 - (other - 5) / 140)
    assert check.verdict is verdict
    assert result.passed is (verdict is not LimitVerdict.REFUSED)
    found = result.unfamiliar
    alike, again = 145 - other, int(other > 5)
    interval = wilson(alike, 140)
    assert found == RefusalAgreement(140, 15, 10 + other, alike, interval, alike + again)
    if verdict is LimitVerdict.REFUSED:
        assert result.refusal == "agreement of refusals 0.8214 (at least 0.97)"
        assert result.loosening == "--min-refusal-agreement"


def test_few_patients_are_not_judged() -> None:
    result = judged(refused=(0, 50), alone=True)
    assert check_of(result, Measure.REFUSAL_AGREEMENT).verdict is LimitVerdict.TOO_FEW


def test_networks_without_distances_have_no_agreement_of_refusals() -> None:
    logits = np.eye(2)[[0, 1]]
    result = compare(logits, logits, np.array([0, 1]), ["a", "b"], GateLimits(), CLASSES)
    assert with_refusals(result, None, None, RefusalLimits()) == result
    images = ControlImages(["ct"], ["x"], SOURCES)
    paired = PairedControls(images, ["c"], CLASSES, np.array([1]), np.array([1]), None)
    called = with_refusals(result, None, paired, RefusalLimits()).controls["ct"]
    assert (called.refused, called.called) == (0, {"sick": 0, "well": 1})


def test_controls_that_are_called_other_are_not_called_a_class() -> None:
    logits, classes = np.eye(2)[[0, 1]], ("sick", "other")
    result = compare(logits, logits, np.array([0, 1]), ["a", "b"], GateLimits(), classes)
    images = ControlImages(["ct"] * 4, ["x"] * 4, SOURCES)
    decisions = np.array([1, 1, 0, 0]), np.array([1, 1, 1, 0])
    paired = PairedControls(images, list("abcd"), classes, *decisions, None)
    judged = with_refusals(result, None, paired, RefusalLimits())
    check = check_of(judged, Measure.CONTROL_RATE, "ct")
    assert (check.fp32, check.candidate) == (0.5, 0.25)
    assert list(contradictions(judged, GateLimits())) == []


@pytest.mark.parametrize("controls", [None, (3, 4)])
def test_a_result_as_measured_is_read_again(controls: tuple[int, int] | None) -> None:
    gate = judged(controls=controls)
    assert list(contradictions(gate, GateLimits())) == []
    values = to_json(gate)
    again = from_json(values, GateResult, "gate", "")
    assert again == gate
    assert list(differences(values, again)) == []


def test_results_of_earlier_versions_are_read() -> None:
    values = to_json(judged())
    old = {key: value for key, value in values.items() if key not in ("unfamiliar", "controls")}
    new = ("refusal_agreement", "control_rate")
    old["checks"] = [check for check in old["checks"] if check["measure"] not in new]
    gate = from_json(old, GateResult, "gate", "")
    assert list(contradictions(gate, GateLimits())) == []


GATE = judged()


def changed(measure: Measure, **changes: Any) -> GateResult:
    checks = [replace(one, **changes) if one.measure is measure else one for one in GATE.checks]
    return replace(GATE, checks=tuple(checks))


def counted(**changes: Any) -> GateResult:
    assert GATE.unfamiliar
    return replace(GATE, unfamiliar=replace(GATE.unfamiliar, **changes))


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (changed(Measure.CONTROL_RATE, candidate=0.0, difference=-20 / 30), "20 of 30 are"),
        (changed(Measure.CONTROL_RATE, verdict=LimitVerdict.HELD), "make it 'no limit'"),
        (replace(GATE, controls={}), "not of the kinds of the controls"),
        (replace(GATE, unfamiliar=None), "are not both stated"),
        (counted(alike=139), "is not 139 of 140 images"),
        (counted(images=100), "agreement of refusals is not"),
        (counted(refused=99), "alike, which is too many"),
        (counted(alike_ci95=(0.5, 1.0)), "interval of the refusals"),
        (counted(alike_in_cascade=139), "139 of 140 images are refused or answered alike in a"),
        (counted(alike_in_cascade=141), "141 of 140 images are refused or answered alike in a"),
        (
            replace(
                GATE, controls={**GATE.controls, "ct": replace(GATE.controls["ct"], refused=0)}
            ),
            "called a class or refused are not 30",
        ),
    ],
)
def test_a_contradiction_is_found(gate: GateResult, words: str) -> None:
    assert words in "; ".join(contradictions(gate, GateLimits()))
