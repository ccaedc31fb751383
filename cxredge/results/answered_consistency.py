"""Contradictions in what a result states of refusals, groups and controls."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cxredge.metrics.classification import wilson
from cxredge.metrics.controls import contradictions
from cxredge.results.answered import Answered, Group, Interval
from cxredge.results.evaluation import Evaluation

_ROUNDING = 1e-6


def of_answers(result: Evaluation) -> Iterator[str]:
    """Yield what contradicts itself, a clause each; the confusion matrix has been checked."""
    if result.answered is not None:
        yield from _of_refusals(result, result.answered)
    for name, groups in result.by.items():
        yield from _of_groups(result, name, list(groups.values()))
    if result.called_by_source:
        yield from _of_sources(result)
    for controls in (result.controls, result.controls_fp32):
        yield from contradictions(controls)
    if result.controls_fp32 and result.controls.keys() != result.controls_fp32.keys():
        yield "the controls of FP32 are not those of the bundle"


def _of_refusals(result: Evaluation, found: Answered) -> Iterator[str]:
    answered = result.images - found.refused
    if answered < found.right or found.right > int(np.trace(np.array(result.confusion))):
        yield f"{found.right} answers are right, of {answered} answered images"
        return
    images = {label: row.images for label, row in found.by_class.items()}
    counted = {label: sum(row) for label, row in zip(result.classes, result.confusion, strict=True)}
    if images != {label: number for label, number in counted.items() if number}:
        yield "the refusals by class are not of the images of the confusion matrix"
    for name, rows in (("class", found.by_class), ("source", found.by_source)):
        refused = sum(row.refused for row in rows.values())
        total = sum(row.images for row in rows.values())
        if (refused, total) != (found.refused, result.images):
            yield f"{found.refused} images are refused, but by {name} {refused} of {total}"
    yield from _share("refused", found.refused, result.images, found.refused_ci95)
    yield from _share("alike", found.alike, result.images, found.alike_ci95)
    if abs(found.refused - found.refused_fp32) > result.images - found.alike:
        yield f"{found.alike} images are refused or answered as in FP32, which is too many"
    if answered:
        value = found.accuracy_answered
        if value is None or abs(value - found.right / answered) > _ROUNDING:
            yield f"accuracy_answered is not {found.right} of {answered} images"
        yield from _share("accuracy_answered", found.right, answered, found.accuracy_answered_ci95)


def _of_sources(result: Evaluation) -> Iterator[str]:
    for label, row in zip(result.classes, result.confusion, strict=True):
        found = [one.called for one in result.called_by_source if one.class_name == label]
        counted = [sum(one.get(name, 0) for one in found) for name in result.classes]
        if counted != list(row):
            yield f"the images of '{label}' by source are called {counted}, not {list(row)}"


def _of_groups(result: Evaluation, name: str, groups: list[Group]) -> Iterator[str]:
    right = int(np.trace(np.array(result.confusion)))
    counted = sum(group.images for group in groups), sum(group.right for group in groups)
    if counted != (result.images, right):
        yield (
            f"by {name}, {counted[1]} of {counted[0]} images are right; by the confusion matrix, "
            f"{right} of {result.images}"
        )
        return
    for group in groups:
        if not group.images or abs(group.accuracy - group.right / group.images) > _ROUNDING:
            yield f"an accuracy by {name} is not {group.right} of {group.images} images"
            return
        if sum(group.classes.values()) != group.images:
            yield f"the classes of a group by {name} do not add up to {group.images} images"
        yield from _share(f"the accuracy by {name}", group.right, group.images, group.accuracy_ci95)
    refused = sum(group.refused for group in groups)
    expected = result.answered.refused if result.answered else 0
    if refused != expected:
        yield f"{expected} images are refused, but by {name} {refused}"


def _share(name: str, hits: int, total: int, ci95: Interval | None) -> Iterator[str]:
    if hits > total:
        yield f"{name} counts {hits} of {total} images"
        return
    low, high = wilson(hits, total)
    if ci95 is None or max(abs(ci95[0] - low), abs(ci95[1] - high)) > _ROUNDING:
        yield f"the interval of {name} is not Wilson's, {low:.4f} to {high:.4f}"
