"""The gate on logits whose right answer is known by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cxredge.artifacts.records import from_json, to_json
from cxredge.errors import ArtifactError
from cxredge.gate.fidelity import Measure
from cxredge.gate.gate import GateLimits, GateResult, Validation, compare
from cxredge.gate.limits import LimitCheck, LimitVerdict
from cxredge.gate.thresholds import operating_thresholds

RIGHT = [[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [0.0, 2.0]]
ONE_WRONG = [[0.0, 2.0], [0.0, 2.0], [2.0, 0.0], [0.0, 2.0]]
LOOSE = GateLimits(1, 0, 1, 1, 1)
CLASSES = ("sick", "well")


def of_four(reference: list, candidate: list, **limits: float) -> GateResult:
    return compare(
        np.array(reference, np.float32),
        np.array(candidate, np.float32),
        np.array([0, 1, 0, 1]),
        ["a", "b", "c", "d"],
        GateLimits(**limits),
    )


def logits_of(probability_sick: np.ndarray | list[float]) -> np.ndarray:
    p = np.asarray(probability_sick, np.float64)
    return np.column_stack([np.log(p), np.log(1 - p)])


def check_of(result: GateResult, measure: Measure, class_name: str | None = None) -> LimitCheck:
    return next(
        check
        for check in result.checks
        if (check.measure, check.class_name) == (measure, class_name)
    )


def with_lost(
    lost: int, sick: int = 40, limits: GateLimits = LOOSE, patients: list[str] | None = None
) -> GateResult:
    """FP32 catches every sick image; the candidate misses ``lost`` of them. 100 are well."""
    before = np.concatenate([np.full(sick, 0.9), np.full(100, 0.1)])
    after = before.copy()
    after[:lost] = 0.1
    labels = np.repeat([0, 1], [sick, 100])
    # On validation images half of the well reach 0.4: that is where the threshold comes to lie.
    seen = logits_of(np.concatenate([np.full(10, 0.9), np.linspace(0.05, 0.4, 10)]))
    validation = Validation(seen, seen, np.repeat([0, 1], 10), 1.0)
    patients = patients or [str(n) for n in range(len(labels))]
    return compare(
        logits_of(before), logits_of(after), labels, patients, limits, CLASSES, validation
    )


ONLY_SENSITIVITY = replace(LOOSE, max_sensitivity_drop=0.02)


def test_what_is_the_same_passes() -> None:
    result = of_four(RIGHT, RIGHT)
    assert result.passed
    assert (result.agreement, result.logit_error, result.flipped) == (1.0, 0.0, ())


def test_refuses_and_names_the_limit() -> None:
    result = of_four(RIGHT, ONE_WRONG)
    assert not result.passed
    assert result.agreement == 0.75
    assert result.refusal == (
        "accuracy 0.7500 against 1.0000 in FP32 (may drop by 0.01); "
        "agreement 0.7500 (at least 0.97)"
    )
    assert result.loosening == "--max-accuracy-drop, --min-agreement"


def test_limits_are_inclusive() -> None:
    assert of_four(RIGHT, ONE_WRONG, max_accuracy_drop=0.25, min_agreement=0.75).passed
    assert not of_four(RIGHT, ONE_WRONG, max_accuracy_drop=0.24, min_agreement=0.75).passed
    assert not of_four(RIGHT, ONE_WRONG, max_accuracy_drop=0.25, min_agreement=0.76).passed


def test_better_accuracy_passes_only_with_agreement() -> None:
    result = of_four(ONE_WRONG, RIGHT)
    assert result.accuracy > result.accuracy_fp32
    assert not result.passed
    assert result.refusal == "agreement 0.7500 (at least 0.97)"


def test_flipped_images_are_listed_with_both_decisions() -> None:
    (flip,) = of_four(RIGHT, ONE_WRONG).flipped
    assert (flip.index, flip.label, flip.fp32, flip.now) == (0, "0", "0", "1")
    assert flip.probability_fp32 == pytest.approx(0.8808, abs=1e-4)
    assert flip.probability_now == pytest.approx(0.8808, abs=1e-4)


def test_loss_of_sensitivity_beyond_chance_is_refused() -> None:
    result = with_lost(4, limits=ONLY_SENSITIVITY)
    check = check_of(result, Measure.SENSITIVITY, "sick")
    assert (check.fp32, check.candidate) == (1.0, 0.9)
    assert check.difference == pytest.approx(-0.1)
    assert check.verdict is LimitVerdict.REFUSED
    assert "sensitivity of sick 0.9000 against 1.0000 in FP32" in result.refusal
    assert result.loosening == "--max-sensitivity-drop"


def test_loss_of_sensitivity_within_chance_passes_with_a_caution() -> None:
    result = with_lost(3, limits=ONLY_SENSITIVITY)
    assert check_of(result, Measure.SENSITIVITY, "sick").verdict is LimitVerdict.UNCLEAR
    assert result.passed
    assert "within what chance can explain: mean sensitivity" in " ".join(result.cautions)
    assert "sensitivity of sick 0.9250" in " ".join(result.cautions)


def test_a_small_loss_of_many_images_is_held() -> None:
    result = with_lost(4, sick=300, limits=ONLY_SENSITIVITY)
    assert check_of(result, Measure.SENSITIVITY, "sick").verdict is LimitVerdict.HELD
    assert result.cautions == ()


def test_losses_of_one_patient_are_one_piece_of_evidence() -> None:
    patients = ["the same"] * 4 + [str(n) for n in range(136)]
    result = with_lost(4, limits=ONLY_SENSITIVITY, patients=patients)
    assert check_of(result, Measure.SENSITIVITY, "sick").verdict is LimitVerdict.UNCLEAR


def test_class_with_few_patients_is_not_judged_but_named() -> None:
    result = with_lost(9, sick=9, limits=replace(ONLY_SENSITIVITY, max_auroc_drop=0))
    for measure in (Measure.SENSITIVITY, Measure.AUROC):
        assert check_of(result, measure, "sick").verdict is LimitVerdict.TOO_FEW
    assert "AUROC of sick (9)" in " ".join(result.cautions)
    assert "sensitivity of sick (9)" in " ".join(result.cautions)
    # One more patient, and the loss of all of them is judged.
    assert not with_lost(10, sick=10, limits=ONLY_SENSITIVITY).passed


def test_ranking_is_judged_where_decisions_do_not_change() -> None:
    """Nobody's decision flips, yet the sick no longer rank above the well."""
    labels = np.repeat([0, 1], [40, 60])
    before = np.concatenate([np.full(40, 0.45), np.linspace(0.1, 0.4, 60)])
    after = np.concatenate([np.full(40, 0.2), np.linspace(0.1, 0.4, 60)])
    patients = [str(n) for n in range(100)]
    result = compare(logits_of(before), logits_of(after), labels, patients, GateLimits(), CLASSES)
    assert (result.agreement, result.accuracy, result.accuracy_fp32) == (1.0, 0.6, 0.6)
    area = check_of(result, Measure.AUROC, "sick")
    assert (area.fp32, area.verdict) == (1.0, LimitVerdict.REFUSED)
    # 20 of the 60 well lie below 0.2.
    assert area.candidate == pytest.approx(1 / 3)
    assert "AUROC of sick 0.3333 against 1.0000" in result.refusal


def test_overconfidence_is_judged_where_decisions_do_not_change() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=400)
    reference = logits_of(np.where(rng.random(400) < 0.8, labels == 0, labels == 1) * 0.6 + 0.2)
    patients = [str(n) for n in range(400)]
    limits = GateLimits(max_calibration_error_rise=0.1)
    result = compare(reference, 4 * reference, labels, patients, limits, CLASSES)
    check = check_of(result, Measure.CALIBRATION_ERROR)
    right = (reference.argmax(1) == labels).mean()
    assert check.fp32 == pytest.approx(abs(right - 0.8))
    assert check.candidate == pytest.approx(0.8**4 / (0.8**4 + 0.2**4) - right)
    assert [row.measure for row in result.refused] == [Measure.CALIBRATION_ERROR]
    calmed = compare(4 * reference, reference, labels, patients, limits, CLASSES)
    assert calmed.passed


def test_each_limit_decides_on_its_own() -> None:
    strict = GateLimits(0, 1, 0, 0, 0)
    for name in vars(strict):
        one = replace(LOOSE, **{name: getattr(strict, name)})
        refused = with_lost(40, limits=one).refused
        assert {check.option for check in refused} == {f"--{name.replace('_', '-')}"}
    assert with_lost(40, limits=LOOSE).passed


def test_thresholds_are_derived_for_each_precision() -> None:
    """The candidate says half of what FP32 says: its own threshold makes up for it."""
    rng = np.random.default_rng(1)
    labels = rng.permutation(np.repeat([0, 1], 100))
    before = rng.uniform(0.05, 0.6, 200) + 0.35 * (labels == 0)
    half = before / 2
    seen = Validation(logits_of(before), logits_of(half), labels, 0.9)
    patients = [str(n) for n in range(200)]
    result = compare(
        logits_of(before), logits_of(half), labels, patients, GateLimits(), CLASSES, seen
    )
    sick = result.thresholds[0]
    assert sick.class_name == "sick"
    assert sick.candidate == pytest.approx(sick.fp32 / 2)
    assert sick.drift == pytest.approx(-sick.fp32 / 2)
    assert sick.sensitivity == sick.sensitivity_fp32 > 0.5
    assert sick.specificity == sick.specificity_fp32 >= 0.9
    assert sick.sensitivity_kept == 0
    assert sick.specificity_kept == 1
    assert check_of(result, Measure.SENSITIVITY, "sick").verdict is LimitVerdict.HELD


def test_thresholds_keep_the_specificity() -> None:
    logits = logits_of([0.1, 0.2, 0.3, 0.4, 0.5, 0.9])
    sick, _ = operating_thresholds(logits, np.array([1, 1, 1, 1, 1, 0]), 0.8)
    assert 0.4 < sick < 0.5


def test_sensitivity_is_not_compared_without_validation_images() -> None:
    result = of_four(RIGHT, RIGHT)
    assert not [c for c in result.checks if c.measure is Measure.SENSITIVITY]
    assert "Sensitivity was not compared" in result.cautions[-1]


def test_a_class_without_images_is_not_judged() -> None:
    reference = np.tile([2.0, 0.0], (20, 1))
    patients = [str(n) for n in range(20)]
    result = compare(reference, reference, np.zeros(20, int), patients, GateLimits(), CLASSES)
    check = check_of(result, Measure.AUROC, "well")
    assert (check.fp32, check.ci95) == (None, None)
    assert check.verdict is LimitVerdict.TOO_FEW
    assert result.passed


def test_results_survive_json() -> None:
    for result in (of_four(RIGHT, ONE_WRONG), with_lost(3)):
        written = to_json(result)
        assert from_json(written, GateResult, "card", "") == result
        assert to_json(from_json(written, GateResult, "card", "")) == written
        assert written["passed"] is result.passed
        assert [check["subject"] for check in written["checks"]] == [
            check.subject for check in result.checks
        ]


def test_results_of_another_version_are_refused_in_a_sentence() -> None:
    older = {"passed": True, "reasons": ["agreement"], "refusals": [], "images": 4}
    with pytest.raises(ArtifactError, match="key 'checks' is missing"):
        from_json(older, GateResult, "card", "")
