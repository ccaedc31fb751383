"""Contradictions in a gate's result: verdicts and derived values are recomputed."""

from __future__ import annotations

from collections.abc import Iterator

from cxredge.gate.fidelity import Deviation, Measure
from cxredge.gate.gate import GateResult
from cxredge.gate.limits import ON_REFUSALS, GateLimits, LimitCheck, RefusalLimits, check
from cxredge.metrics.classification import wilson
from cxredge.metrics.controls import contradictions as of_controls
from cxredge.metrics.number_types import as_different_texts

_ROUNDING = 1e-9


def contradictions(
    gate: GateResult, limits: GateLimits, refusals: RefusalLimits | None = None
) -> Iterator[str]:
    """Yield what contradicts itself in a gate's result, a clause each.

    Args:
        gate: The result.
        limits: Limits that the gate was given.
        refusals: Limits on refusals that it was given; None for the defaults.
    """
    if not gate.images or not {Measure.ACCURACY, Measure.AGREEMENT} <= _measures(gate):
        yield "accuracy and agreement of at least one image are missing"
        return
    for one in gate.checks:
        of_refusals = one.measure in ON_REFUSALS
        yield from _of_check(one, gate, (refusals or RefusalLimits()) if of_refusals else limits)
    yield from _of_flips(gate)
    yield from _of_refusals(gate)
    yield from _of_thresholds(gate)
    found = gate.near_ties
    if found and not (found.images == gate.images >= found.near >= found.at_limit):
        yield (
            f"{found.near} of {found.images} images are near ties, {found.at_limit} of them at the "
            f"limit, of {gate.images} compared"
        )


def _measures(gate: GateResult) -> set[Measure]:
    return {one.measure for one in gate.checks}


def _of_check(
    one: LimitCheck, gate: GateResult, limits: GateLimits | RefusalLimits
) -> Iterator[str]:
    """Compare a difference, its limit and its verdict with the values and the limits."""
    known = one.fp32 is not None and one.candidate is not None
    difference = (one.candidate or 0.0) - (one.fp32 or 0.0) if known else None
    if not _same(one.difference, difference):
        yield f"{one.subject} changes by {one.difference}, but its values by {difference}"
        return
    if one.patients > gate.patients and one.measure not in ON_REFUSALS:
        yield f"{one.subject} has {one.patients} patients of {gate.patients}"
    measured = Deviation(**{name: getattr(one, name) for name in Deviation.__dataclass_fields__})
    expected = check(measured, limits)
    if (one.limit, one.verdict) != (expected.limit, expected.verdict):
        yield (
            f"{one.subject} is '{one.verdict.value}' with the limit {one.limit}, but its values "
            f"and the limit {expected.limit} make it '{expected.verdict.value}'"
        )


def _of_flips(gate: GateResult) -> Iterator[str]:
    images, flips = gate.images, gate.flipped
    same = images - len(flips)
    if not _same(gate.agreement, same / images):
        stated, computed = as_different_texts(gate.agreement, same / images)
        yield (
            f"agreement is {stated}, but {len(flips)} of {images} decisions changed, which makes "
            f"{computed}"
        )
    low, high = wilson(same, images)
    if not (_same(gate.agreement_ci95[0], low) and _same(gate.agreement_ci95[1], high)):
        yield f"the interval of the agreement is not Wilson's, {low:.4f} to {high:.4f}"
    gained = sum((flip.now == flip.label) - (flip.fp32 == flip.label) for flip in flips)
    if not _same(gate.accuracy - gate.accuracy_fp32, gained / images):
        difference = gate.accuracy - gate.accuracy_fp32
        stated, computed = as_different_texts(difference, gained / images)
        yield (
            f"accuracy is {gate.accuracy:.4f}, in FP32 {gate.accuracy_fp32:.4f}, a difference of "
            f"{stated}, but the changed decisions make {gained} of {images} images, {computed}"
        )
    right = gate.accuracy * images
    if abs(right - round(right)) > images * _ROUNDING:
        stated, computed = as_different_texts(gate.accuracy, round(right) / images)
        yield (
            f"accuracy is {stated}, which no number of {images} images makes; {round(right)} make "
            f"{computed}"
        )


def _of_refusals(gate: GateResult) -> Iterator[str]:
    """Compare the checks of refusals and controls with the counts that they derive from."""
    stated = {one.class_name: one for one in gate.checks if one.measure is Measure.CONTROL_RATE}
    if stated.keys() != gate.controls.keys():
        yield "the checks of controls are not of the kinds of the controls"
    yield from of_controls(gate.controls)
    for kind, one in stated.items():
        found = gate.controls.get(kind or "")
        if found and found.images and not _same(one.candidate, found.rate):
            yield f"{one.subject} is {one.candidate}, but {found.answered} of {found.images} are"
    agreed = [one for one in gate.checks if one.measure is Measure.REFUSAL_AGREEMENT]
    unfamiliar = gate.unfamiliar
    if unfamiliar is None or not agreed or not unfamiliar.images:
        if agreed or unfamiliar is not None:
            yield "the agreement of refusals and its counts are not both stated"
        return
    low, high = wilson(min(unfamiliar.alike, unfamiliar.images), unfamiliar.images)
    share = unfamiliar.alike / unfamiliar.images
    of_controls_too = gate.images + sum(found.images for found in gate.controls.values())
    apart = abs(unfamiliar.refused - unfamiliar.refused_fp32)
    if not _same(agreed[0].candidate, share) or unfamiliar.images != of_controls_too:
        yield f"the agreement of refusals is not {unfamiliar.alike} of {of_controls_too} images"
    elif (
        not unfamiliar.alike <= (unfamiliar.alike_in_cascade or unfamiliar.alike) <= of_controls_too
    ):
        yield (
            f"{unfamiliar.alike_in_cascade} of {of_controls_too} images are refused or answered "
            f"alike in a cascade, and {unfamiliar.alike} without one"
        )
    elif apart > unfamiliar.images - unfamiliar.alike:
        yield f"{unfamiliar.alike} images are refused or answered alike, which is too many"
    elif not (_same(unfamiliar.alike_ci95[0], low) and _same(unfamiliar.alike_ci95[1], high)):
        yield f"the interval of the refusals is not Wilson's, {low:.4f} to {high:.4f}"


def _of_thresholds(gate: GateResult) -> Iterator[str]:
    """Compare thresholds with their drift, and sensitivities with those of the checks."""
    by_class = {one.class_name: one for one in gate.checks if one.measure is Measure.SENSITIVITY}
    for row in gate.thresholds:
        if not _same(row.drift, row.candidate - row.fp32):
            yield f"the threshold of {row.class_name} drifts by {row.drift}, but its values do not"
        one = by_class.get(row.class_name)
        stated = (row.sensitivity_fp32, row.sensitivity)
        if one and not all(map(_same, (one.fp32, one.candidate), stated)):
            yield f"{one.subject} differs between the checks and the thresholds"


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= _ROUNDING
