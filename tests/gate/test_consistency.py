"""A gate's result whose verdicts or derived values contradict its values is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cxredge.artifacts.derived import differences
from cxredge.artifacts.records import from_json, to_json
from cxredge.gate.consistency import contradictions
from cxredge.gate.fidelity import Measure
from cxredge.gate.gate import GateLimits, GateResult, Validation, compare
from cxredge.gate.limits import LimitVerdict

LIMITS = GateLimits()


def measured(noise: float = 0.6) -> GateResult:
    rng = np.random.default_rng(3)
    labels = np.arange(240) % 3
    reference = np.eye(3)[labels] * 1.5 + rng.normal(0, 1, (240, 3))
    candidate = reference + rng.normal(0, noise, (240, 3))
    held, rest = slice(0, 120), slice(120, None)
    validation = Validation(reference[rest], candidate[rest], labels[rest], 0.9)
    patients = [str(number // 2) for number in range(120)]
    return compare(
        reference[held], candidate[held], labels[held], patients, LIMITS, "abc", validation
    )


GATE = measured()


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.6, 3.0])
def test_a_result_as_measured_does_not_contradict_itself(noise: float) -> None:
    gate = measured(noise)
    assert list(contradictions(gate, LIMITS)) == []
    values = to_json(gate)
    assert list(differences(values, from_json(values, GateResult, "gate", ""))) == []


def changed(measure: Measure, **changes: Any) -> GateResult:
    checks = [
        replace(one, **changes) if one.measure is measure and one.class_name is None else one
        for one in GATE.checks
    ]
    return replace(GATE, checks=tuple(checks))


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (changed(Measure.ACCURACY, verdict=LimitVerdict.HELD), "make it 'refused'"),
        (changed(Measure.AGREEMENT, limit=0.5), "and the limit 0.97 make it"),
        (changed(Measure.AUROC, difference=0.0), "mean AUROC changes by 0.0, but its values"),
        (changed(Measure.ACCURACY, candidate=0.99), "accuracy changes by"),
        (changed(Measure.LOGIT_ERROR, patients=999), "999 patients of 60"),
        (replace(GATE, flipped=()), "but 0 of 120 decisions changed"),
        (replace(GATE, images=121), "of 121 decisions changed"),
        (replace(GATE, agreement_ci95=(0.99, 1.0)), "agreement is not Wilson's"),
        (
            replace(GATE, thresholds=(replace(GATE.thresholds[0], drift=0.0),)),
            "the threshold of a drifts by 0.0",
        ),
        (
            replace(GATE, thresholds=(replace(GATE.thresholds[0], sensitivity=1.0),)),
            "sensitivity of a differs between the checks and the thresholds",
        ),
        (replace(GATE, checks=()), "accuracy and agreement of at least one image are missing"),
    ],
)
def test_a_contradiction_is_found(gate: GateResult, words: str) -> None:
    assert words in "; ".join(contradictions(gate, LIMITS))


def test_other_limits_than_those_of_the_build_are_found() -> None:
    found = list(contradictions(GATE, replace(LIMITS, min_agreement=0.1)))
    assert "agreement" in found[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda gate: gate.update(passed=True), "'passed' is True, but the other values give"),
        (lambda gate: gate.update(accuracy=0.999), "'accuracy' is 0.999"),
        (lambda gate: gate.update(accuracy_difference_ci95=[0.0]), "'accuracy_difference_ci95'"),
        (lambda gate: gate["near_ties"].update(risk=0.0), "'near_ties.risk' is 0.0"),
    ],
)
def test_a_derived_value_that_was_edited_is_found(
    change: Callable[[dict[str, Any]], None], words: str
) -> None:
    values = to_json(GATE)
    change(values)
    assert words in "; ".join(differences(values, from_json(values, GateResult, "gate", "")))


def test_derived_sentences_may_be_worded_differently() -> None:
    values = {**to_json(GATE), "cautions": ["Other words."]}
    assert list(differences(values, from_json(values, GateResult, "gate", ""))) == []
