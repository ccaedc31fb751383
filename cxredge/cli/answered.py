"""What a bundle answers and refuses, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cxredge.cli.text import share, table

if TYPE_CHECKING:
    from cxredge.bundle.bundle import Bundle
    from cxredge.metrics.controls import ControlKind
    from cxredge.results.answered import Answered, CalledBySource, Group, WithinSource
    from cxredge.results.evaluation import Evaluation


def answers_lines(found: Evaluation) -> list[str]:
    """Return the answers by group, within sources and for controls, as lines."""
    lines = [
        *_refusals(found.answered, found.images),
        *_groups(found.by),
        *_called(found.called_by_source, found.classes),
    ]
    if found.auroc_within_source:
        lines += ["", _within(found.auroc_within_source)]
    if found.controls:
        lines += ["", controls_table(found.controls)]
    return [*lines, ""] if len(lines) > 1 else lines


def objections_of(bundle: Bundle) -> list[str]:
    """Return a sentence for each kind of controls that speaks against the bundle's answers.

    The build measured them; a bundle that was built without controls has none.
    """
    from cxredge.metrics.controls import objections

    gate = bundle.card.facts.gate_of(bundle.precision, bundle.backend)
    return objections(gate.controls)


def objection_lines(sentences: Sequence[str]) -> list[str]:
    """Return such sentences as lines below answers."""
    return [f"Caution, from the controls of the build: {sentence}" for sentence in sentences]


def controls_table(controls: Mapping[str, ControlKind]) -> str:
    """Return a table of what controls are called, a row for each kind."""
    classes = list(next(iter(controls.values())).called)
    rows = [
        [
            kind,
            found.images,
            share(found.refused / found.images, found.refused_ci95),
            *(found.called[name] for name in classes),
        ]
        for kind, found in controls.items()
    ]
    return table(["controls", "images", "refused", *(f"called {name}" for name in classes)], rows)


def _refusals(found: Answered | None, images: int) -> list[str]:
    if found is None:
        return ["Unfamiliar images are not refused: the bundle has no distances."]
    share_of = share(found.refused / images, found.refused_ci95)
    by_class = ", ".join(f"{name} {row.refused}" for name, row in found.by_class.items())
    alike = share(found.alike / images, found.alike_ci95)
    return [
        f"Refused as unfamiliar: {found.refused} of {images} ({share_of}; {by_class}). Accuracy of "
        f"the answered ones {share(found.accuracy_answered, found.accuracy_answered_ci95)}. "
        f"Refused or answered as in FP32: {alike}."
    ]


def _groups(groups: Mapping[str, Mapping[str, Group]]) -> list[str]:
    """Return accuracy by property; a property with a single value is left out."""
    rows = [
        [
            name if number == 0 else "",
            value,
            group.images,
            group.patients,
            share(group.accuracy, group.accuracy_ci95),
            ", ".join(f"{label} {count}" for label, count in group.classes.items()),
        ]
        for name, by_value in groups.items()
        if len(by_value) > 1
        for number, (value, group) in enumerate(by_value.items())
    ]
    if not rows:
        return []
    return ["", table(["by", "", "images", "patients", "accuracy", "classes"], rows)]


def _called(found: Sequence[CalledBySource], classes: Sequence[str]) -> list[str]:
    """Return what the images of the classes with several sources are called, by source."""
    from cxredge.results.answered import several_sources

    rows = [
        [one.class_name, one.source, *(one.called[name] for name in classes)]
        for one in several_sources(found)
    ]
    header = ["class", "source", *(f"called {name}" for name in classes)]
    return ["", table(header, rows)] if rows else []


def _within(found: tuple[WithinSource, ...]) -> str:
    rows = [
        [
            one.source,
            one.class_name,
            one.against,
            f"{one.images} / {one.others}",
            share(one.auroc, one.auroc_ci95),
        ]
        for one in found
    ]
    header = ["source", "class", "told from", "images", "AUROC within the source"]
    return table(header, rows)
