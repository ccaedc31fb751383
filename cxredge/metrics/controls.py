"""Controls: images that show none of the classes, and what a network calls them.

A network that recognises the disease refuses them, or spreads them over the classes. One that calls
all X-rays of a source by the class of that source recognises the source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxredge.metrics.classification import Interval, Ints, wilson
from cxredge.metrics.number_types import Count, Share

Bools = npt.NDArray[np.bool_]

OTHER_CLASS = "other"
"""Class of X-rays that show none of the other classes: a network that answers it names nothing."""

_ROUNDING = 1e-6
_TELLS_THE_SOURCE = 0.5
"""If the interval of the share of controls of a class's own source that are called the class lies
above, the network does not tell the class from its source."""
_MOST = 0.5
_NOUNS = {
    "adult no finding": ("X-rays of adults", "without a finding"),
    "adult pneumonia": ("X-rays of adults", "with pneumonia"),
    "other finding": ("X-rays", "with other findings"),
    "lateral": ("lateral X-rays", ""),
    "ct": ("CT slices", ""),
}


@dataclass(frozen=True, kw_only=True)
class ControlKind:
    """The controls of one kind, and what a network calls them.

    Attributes:
        images: Number of images.
        sources: Number of images by source.
        own_classes: Classes whose images come from the same sources, if those of another class do
            not.
        refused: Number of images that are refused as unfamiliar.
        refused_ci95: Wilson's 95% interval of their share.
        called: Number of images that are called a class and not refused, by class.
        called_ci95: Wilson's 95% interval of their share of the images, by class.
        called_if_answered: Number of images by class if none were refused.
    """

    images: Count
    sources: Mapping[str, Count]
    own_classes: tuple[str, ...]
    refused: Count
    refused_ci95: tuple[Share, Share]
    called: Mapping[str, Count]
    called_ci95: Mapping[str, tuple[Share, Share]]
    called_if_answered: Mapping[str, Count]

    @property
    def answered(self) -> int:
        """Number of images that are called a class other than ``other``, and not refused."""
        return self.images - self.refused - self.called.get(OTHER_CLASS, 0)

    @property
    def rate(self) -> float:
        """Share of the images that are called a class other than ``other``, and not refused."""
        return self.answered / self.images


Controls = Mapping[str, ControlKind]
"""Controls by kind."""


@dataclass(frozen=True)
class ControlImages:
    """What is known of controls before a network sees them.

    Attributes:
        kinds: Kind of each image.
        sources: Source of each image.
        class_sources: Sources of the images of each class.
    """

    kinds: Sequence[str]
    sources: Sequence[str]
    class_sources: Mapping[str, AbstractSet[str]]


def measure_controls(
    images: ControlImages, decisions: Ints, refused: Bools | None, classes: Sequence[str]
) -> dict[str, ControlKind]:
    """Return what a network calls controls, by kind.

    Args:
        images: The N controls.
        decisions: int (N,), index of the most probable class.
        refused: bool (N,), images that are refused as unfamiliar; None if the network refuses none.
        classes: Names of the classes.
    """
    kinds = np.array(images.kinds, dtype=np.str_)
    away = np.zeros(len(kinds), dtype=bool) if refused is None else refused
    found = {}
    for kind in sorted(set(images.kinds)):
        chosen = kinds == kind
        sources = Counter(s for s, of_kind in zip(images.sources, chosen, strict=True) if of_kind)
        total, gone = int(chosen.sum()), int((chosen & away).sum())
        called = _by_class(decisions[chosen & ~away], classes)
        found[kind] = ControlKind(
            images=total,
            sources=dict(sorted(sources.items())),
            own_classes=own_classes(sources.keys(), images.class_sources),
            refused=gone,
            refused_ci95=wilson(gone, total),
            called=called,
            called_ci95={name: wilson(number, total) for name, number in called.items()},
            called_if_answered=_by_class(decisions[chosen], classes),
        )
    return found


def contradictions(controls: Controls) -> Iterator[str]:
    """Yield what contradicts itself in the figures of controls, a clause each."""
    for kind, found in controls.items():
        name = f"controls of the kind '{kind}'"
        if not found.images or found.refused + sum(found.called.values()) != found.images:
            yield f"the {name} that are called a class or refused are not {found.images}"
            continue
        if sum(found.sources.values()) != found.images:
            yield f"the sources of the {name} do not add up to {found.images}"
        if sum(found.called_if_answered.values()) != found.images or any(
            number > found.called_if_answered.get(label, 0)
            for label, number in found.called.items()
        ):
            yield f"the {name} would be called other classes than they are"
        shares = {label: (n, found.called_ci95.get(label)) for label, n in found.called.items()}
        for label, (number, ci95) in {**shares, "": (found.refused, found.refused_ci95)}.items():
            low, high = wilson(number, found.images)
            if ci95 is None or max(abs(ci95[0] - low), abs(ci95[1] - high)) > _ROUNDING:
                what = f"called {label}" if label else "refused"
                yield f"the interval of the {name} that are {what} is not {low:.4f} to {high:.4f}"


def own_classes(
    sources: AbstractSet[str], class_sources: Mapping[str, AbstractSet[str]]
) -> tuple[str, ...]:
    """Return the classes that share a source with controls, if not every class does.

    Where all classes share it, the source tells no class. ``other`` is right for a control.
    """
    classes = {name: found for name, found in class_sources.items() if name != OTHER_CLASS}
    own = tuple(sorted(name for name, found in classes.items() if found & sources))
    return own if len(own) < len(classes) else ()


def control_sentences(controls: Controls) -> list[str]:
    """Return a sentence for each kind, first those of a source that a network tells by a class."""
    ranked = sorted(
        controls.items(), key=lambda item: (_told_source(item[1]) is None, -item[1].rate, item[0])
    )
    return [control_sentence(kind, found) for kind, found in ranked]


def objections(controls: Controls) -> list[str]:
    """Return the sentences of the kinds that speak against the accuracy.

    Those are the kinds of a source that the network tells by a class, and those of which it gives
    most images a class.
    """
    against = {
        kind: found
        for kind, found in controls.items()
        if _told_source(found) is not None or found.rate > _MOST
    }
    return control_sentences(against)


def control_sentence(kind: str, found: ControlKind) -> str:
    """Return in words what a network calls the controls of a kind.

    Such as: "Of 88 X-rays from covid19's own source with other findings, 88 (96-100%) are called
    covid19: this network tells the source, not the disease."
    """
    told = _told_source(found)
    subject = f"Of {found.images} {_noun(kind, found)}, "
    if told is not None:
        most = f"{_counted(found.called[told], found.called_ci95[told])} called {told}"
        more = f"; {found.refused} are refused" if found.refused else ""
        return f"{subject}{most}{more}: this network tells the source, not the disease."
    refused = f"{_counted(found.refused, found.refused_ci95)} refused"
    ranked = sorted(found.called.items(), key=lambda item: (-item[1], item[0]))
    if found.own_classes:
        ranked.sort(key=lambda item: item[0] not in found.own_classes)
    called = [
        f"{_counted(number, found.called_ci95[name])} called {name}"
        for name, number in ranked
        if number
    ]
    return subject + ", ".join([*called, refused] if found.refused or not called else called) + "."


def _told_source(found: ControlKind) -> str | None:
    """Return the class of the own source that most controls are called; None if there is none."""
    told = [n for n in found.own_classes if found.called_ci95[n][0] > _TELLS_THE_SOURCE]
    return max(told, key=lambda name: found.called[name]) if told else None


def _noun(kind: str, found: ControlKind) -> str:
    noun, more = _NOUNS.get(kind, (f"controls of the kind '{kind}'", ""))
    source = f" from {' and '.join(found.own_classes)}'s own source" if found.own_classes else ""
    return f"{noun}{source} {more}".rstrip()


def _counted(number: int, ci95: Interval) -> str:
    verb = "is" if number == 1 else "are"
    return f"{number} ({100 * ci95[0]:.0f}-{100 * ci95[1]:.0f}%) {verb}"


def _by_class(decisions: Ints, classes: Sequence[str]) -> dict[str, int]:
    counts = np.bincount(decisions, minlength=len(classes))
    return {name: int(number) for name, number in zip(classes, counts, strict=True)}
